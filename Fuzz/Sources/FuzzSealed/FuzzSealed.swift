internal import FuzzDriver

@_cdecl("FuzzSealed_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, SealedHarness.check)
}

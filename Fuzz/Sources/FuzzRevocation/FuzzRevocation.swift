internal import FuzzDriver

@_cdecl("FuzzRevocation_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, RevocationHarness.check)
}

internal import FuzzDriver

@_cdecl("FuzzLog_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, LogHarness.check)
}

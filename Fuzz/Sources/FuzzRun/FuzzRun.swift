internal import FuzzDriver

@_cdecl("FuzzRun_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, RunHarness.check)
}

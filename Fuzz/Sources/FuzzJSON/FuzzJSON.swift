internal import FuzzDriver

@_cdecl("FuzzJSON_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, JSONHarness.check)
}

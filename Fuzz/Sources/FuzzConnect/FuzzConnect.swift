internal import FuzzDriver

@_cdecl("FuzzConnect_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, CallHarness.connect)
}

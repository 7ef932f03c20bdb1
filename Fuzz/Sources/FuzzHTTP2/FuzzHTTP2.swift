internal import FuzzDriver

@_cdecl("FuzzHTTP2_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, HTTP2Harness.check)
}

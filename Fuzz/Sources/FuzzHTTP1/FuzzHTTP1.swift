internal import FuzzDriver

@_cdecl("FuzzHTTP1_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, HTTP1Harness.check)
}

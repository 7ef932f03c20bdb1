internal import FuzzDriver

@_cdecl("FuzzGRPC_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, CallHarness.grpc)
}

internal import FuzzDriver

@_cdecl("FuzzWire_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, WireHarness.check)
}

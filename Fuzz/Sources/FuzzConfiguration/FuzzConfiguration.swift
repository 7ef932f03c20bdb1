internal import FuzzDriver

@_cdecl("FuzzConfiguration_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, ConfigurationHarness.check)
}

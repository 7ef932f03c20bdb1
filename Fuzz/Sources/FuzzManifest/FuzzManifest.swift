internal import FuzzDriver

@_cdecl("FuzzManifest_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, ManifestHarness.check)
}

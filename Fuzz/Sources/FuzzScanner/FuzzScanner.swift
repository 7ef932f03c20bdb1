internal import FuzzDriver

@_cdecl("FuzzScanner_main")
func main(_ count: CInt, _ arguments: Arguments) -> CInt {
    fuzz(count, arguments, SegmentHarness.check)
}

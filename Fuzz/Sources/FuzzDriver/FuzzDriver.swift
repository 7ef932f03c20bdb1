internal import Glibc

/// Hands the program to libFuzzer: its options are those of the command line, every input goes to
/// `check`, and what `check` does not survive (a trap, a read out of bounds, a leak) is a finding.
public func fuzz(
    _ argumentCount: CInt, _ arguments: Arguments, _ check: @escaping (UnsafeRawBufferPointer) -> Void
) -> CInt {
    body = check
    var argumentCount = argumentCount
    var arguments = arguments
    return runDriver(&argumentCount, &arguments) { start, count in
        body(UnsafeRawBufferPointer(start: start, count: count))
        return 0
    }
}

public typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?

/// libFuzzer takes a C function, which captures nothing. Written once, before its only thread runs.
nonisolated(unsafe) private var body: (UnsafeRawBufferPointer) -> Void = { _ in }

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argumentCount: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<Arguments>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// A server's thread pools live as long as the program, out of the sight of the leak detector.
@_cdecl("__lsan_default_suppressions")
func suppressions() -> UnsafePointer<CChar>? {
    UnsafePointer(strdup("leak:NIOThreadPool\n"))
}

internal import NIOCore

/// Tells once when a certificate has expired, by the clock of the wall. Confined to its event loop.
final class CertificateExpiry {
    /// The longest that it waits before the clock is asked again: clocks are set.
    private static let lookMilliseconds: Int64 = 60_000

    private let notAfterUnixMilliseconds: Int64
    private let action: () -> Void
    private var timer: LazyTimer?

    init(
        _ certificate: CallerCertificate, _ eventLoop: any EventLoop, _ action: @escaping () -> Void
    ) {
        notAfterUnixMilliseconds = certificate.notAfterUnixMilliseconds
        self.action = action
        timer = LazyTimer(eventLoop) { [unowned self] in look() }
        wait()
    }

    func cancel() {
        timer?.cancel()
        timer = nil
    }

    private var left: Int64 { notAfterUnixMilliseconds - RequestDispatcher.unixMilliseconds() }

    private func wait() {
        timer?.arm(milliseconds: Int(min(max(left, 0) + 10, Self.lookMilliseconds)))
    }

    private func look() {
        if left > 0 { wait() } else { action() }
    }
}

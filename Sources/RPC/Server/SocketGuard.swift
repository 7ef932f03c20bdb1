internal import NIOCore

/// Sits between the socket and TLS. It knows whether a single byte of a handshake came, and after a
/// failed handshake it closes so that the alert arrives: a plain close with unread bytes in the
/// socket makes the kernel send a reset, which overtakes what was written.
final class SocketGuard: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private(set) var receivedAnything = false
    /// Set when the handshake failed, before TLS closes the channel.
    var lingersOnClose = false

    private let limits: RPCServerLimits
    private var lingering = false
    private var discarded = 0
    private var timer: LazyTimer?

    init(_ limits: RPCServerLimits) {
        self.limits = limits
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        receivedAnything = true
        guard lingering else { return context.fireChannelRead(data) }
        discarded += unwrapInboundIn(data).readableBytes
        if discarded > limits.discardBytes { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if lingering { context.read() }
        context.fireChannelReadComplete()
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard lingersOnClose, mode == .all, !lingering, context.channel.isActive else {
            return context.close(mode: mode, promise: promise)
        }
        lingering = true
        context.flush()
        context.close(mode: .output, promise: nil)
        let timer = LazyTimer(context.eventLoop) { context.close(promise: nil) }
        timer.arm(milliseconds: limits.discardMilliseconds)
        self.timer = timer
        context.read()
        promise?.succeed(())
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        context.fireChannelInactive()
    }
}

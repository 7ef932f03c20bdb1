import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

@testable import RPC

@Suite(.timeLimit(.minutes(15))) struct ClientUnixSocketTests {
    /// Echoes the body of every POST, answers GET with its target, and /silent never.
    private final class EchoHandler: ChannelInboundHandler {
        typealias InboundIn = NIOHTTPServerRequestFull
        typealias OutboundOut = HTTPServerResponsePart

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let request = unwrapInboundIn(data)
            if request.head.uri == "/silent" { return }
            let body =
                request.head.method == .GET
                ? ByteBuffer(string: request.head.uri) : request.body ?? ByteBuffer()
            let headers: HTTPHeaders = [
                "Content-Type": request.head.headers.first(name: "content-type") ?? "text/plain",
                "Content-Length": String(body.readableBytes),
            ]
            context.write(
                wrapOutboundOut(
                    .head(HTTPResponseHead(version: .http1_1, status: .ok, headers: headers))),
                promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    private func listen(_ path: String) async throws -> any Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let operations = channel.pipeline.syncOperations
                    try operations.configureHTTPServerPipeline()
                    try operations.addHandlers(
                        NIOHTTPServerRequestAggregator(maxContentLength: 16 << 20), EchoHandler())
                }
            }
            .bind(unixDomainSocketPath: path).get()
    }

    @Test func callsAndGets() async throws {
        let path = NSTemporaryDirectory() + "bsfg-\(UUID().uuidString).sock"
        let listener = try await listen(path)
        let client = RPCClient(unixSocket: path)
        let body = [UInt8](repeating: 0x20, count: 1 << 20)
        #expect(try await client.call("/t/Echo", body, codec: .json) == body)
        #expect(try await client.get("/health").body == Array("/health".utf8))
        let error = await #expect(throws: RPCClientError.self) {
            try await client.get("/silent", timeoutMilliseconds: 200)
        }
        #expect(error?.transportKind == .timeout)
        try await listener.close()
        let gone = await #expect(throws: RPCClientError.self) { try await client.get("/health") }
        #expect(gone?.description.contains("bsfg serve") == true)
        await client.close()
    }
}

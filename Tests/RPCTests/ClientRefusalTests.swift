import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import RPC

/// Every way a connection does not come about has its kind and its sentence.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ClientRefusalTests {
    private func refusal(_ client: RPCClient) async -> RPCClientError? {
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Echo", [1], timeoutMilliseconds: 120_000)
        }
        await client.close()
        return error
    }

    @Test(arguments: [
        (nil, "116 (certificate required)"), ("stranger", "48 (unknown CA)"),
        ("expired", "45 (certificate expired)"),
    ]) func serverRefusesOurCertificate(certificate: String?, alert: String) async throws {
        let server = try await HTTP2TestServer.start()
        for _ in 0..<5 {
            let error = await refusal(try server.client(certificate: certificate))
            #expect(error?.transportKind == .certificateRefused)
            #expect(error?.description.contains(alert) == true, "\(String(describing: error))")
        }
        #expect(server.log.counts.begun == 0)
        await server.stop()
    }

    @Test func onlySomeAlertsAreAboutOurCertificate() {
        let about = (0..<256).filter { TLSAlert(number: $0).isAboutCertificate }
        #expect(about == [42, 43, 44, 45, 46, 48, 49, 116])
    }

    @Test func weRefuseAServerOfAnotherAuthority() async throws {
        let server = try await HTTP2TestServer.start()
        let error = await refusal(try server.client(trusting: "other-ca"))
        #expect(error?.transportKind == .tls)
        #expect(error?.description.contains("does not verify") == true)
        await server.stop()
    }

    @Test func verifierSeesTheLeafAndRefusesBeforeAnythingIsSent() async throws {
        let server = try await HTTP2TestServer.start()
        let client = try server.client(verifier: { leaf in
            try? await Task.sleep(for: .milliseconds(100))
            return ServiceRefusal(
                reason: "wrong_peer", sentence: "a certificate of \(leaf.count) bytes")
        })
        let error = await #expect(throws: RPCClientError.self) {
            try await client.call("/t/Echo", [1])
        }
        #expect(error?.transportKind == .identity)
        let leaf = try #require(await client.serverCertificate())
        #expect(error?.description.contains("a certificate of \(leaf.count) bytes") == true)
        let pem = Data(leaf).base64EncodedString()
        let file = String(
            decoding: HTTP2TestCertificates.shared.bytes("server.crt"), as: UTF8.self)
        #expect(file.replacing("\n", with: "").contains(pem))
        #expect(server.log.counts.begun == 0)
        await client.close()
        await server.stop()
    }

    @Test func nothingListens() async throws {
        let server = try await HTTP2TestServer.start()
        await server.stop()
        let error = await refusal(try server.client())
        #expect(error?.transportKind == .refused)
    }

    @Test func nameWithoutAddress() async throws {
        let server = try await HTTP2TestServer.start()
        let error = await refusal(try server.client { $0.host = "no-such-host.invalid" })
        #expect(error?.transportKind == .dns)
        await server.stop()
    }

    /// A listener whose queue is full answers no SYN, as a firewall that drops.
    @Test func silence() async throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                #expect(bind(listener, pointer, length) == 0)
                #expect(listen(listener, 0) == 0)
                #expect(getsockname(listener, pointer, &length) == 0)
            }
        }
        let fillers = (0..<4).map { _ in
            let filler = socket(
                AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    _ = connect(filler, pointer, length)
                }
            }
            return filler
        }
        defer { for filler in fillers { close(filler) } }
        var configuration = RPCClientConfiguration(
            host: "127.0.0.1", port: Int(UInt16(bigEndian: address.sin_port)))
        configuration.connectTimeoutMilliseconds = 500
        let client = try RPCClient(
            configuration, tls: HTTP2TestCertificates.shared.client(), verifier: { _ in nil })
        let error = await refusal(client)
        #expect(error?.transportKind == .silent, "\(String(describing: error))")
    }

    private final class PlainHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let answer = ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n")
            context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
        }
    }

    @Test func serverWithoutTLS() async throws {
        let plain = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(PlainHandler())
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let client = try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: plain.localAddress!.port!),
            tls: HTTP2TestCertificates.shared.client(), verifier: { _ in nil })
        let error = await refusal(client)
        #expect(error?.transportKind == .tls)
        #expect(error?.description.contains("does not speak TLS") == true)
        try await plain.close()
    }

    @Test func serverThatSaysNothing() async throws {
        let mute = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = RPCClientConfiguration(
            host: "127.0.0.1", port: mute.localAddress!.port!)
        configuration.handshakeTimeoutMilliseconds = 300
        let client = try RPCClient(
            configuration, tls: HTTP2TestCertificates.shared.client(), verifier: { _ in nil })
        let error = await refusal(client)
        #expect(error?.transportKind == .tls)
        #expect(error?.description.contains("300 ms") == true)
        try await mute.close()
    }

    @Test func serverWithoutHTTP2() async throws {
        let server = try await HTTP2TestServer.start(protocols: ["http/1.1"])
        let error = await refusal(try server.client())
        #expect(error?.transportKind == .tls)
        #expect(error?.description.contains("HTTP/2") == true)
        await server.stop()
    }

    @Test("The probe names the one thing that is wrong with the server's certificate, its issuer and its dates",
        arguments: [
            ("expired-server", "ca", "it expired at", "expired"),
            ("server", "other-ca", "which is not in the-ca-file", "unknown_issuer"),
        ])
    func probeNamesWhatIsWrong(
        certificate: String, trusted: String, words: String, reason: String
    ) async throws {
        let server = try await HTTP2TestServer.start(certificate: certificate)
        var tls = HTTP2TestCertificates.shared.client(trusting: trusted)
        tls.trustNames = ["the-ca-file"]
        let probe = await PeerProbe.run(server.configuration(), tls: tls, verifier: { _ in nil })
        let failed = try #require(probe.results.last)
        #expect(failed.step == .tls && !failed.isGood && probe.error?.transportKind == .tls)
        #expect(failed.text.contains("'CN = \(certificate)'") && failed.text.contains(words), "\(failed.text)")
        #expect(
            failed.text.contains("issued by 'CN = ca'") && failed.text.contains("valid from 20")
                && failed.text.hasSuffix("(\(reason))"),
            "\(failed.text)")
        let connected = probe.results.first { $0.step == .tcp }
        #expect(connected?.text == "connected to 127.0.0.1:\(server.configuration().port)")
        await server.stop()
    }

    @Test func probeNamesTheStepThatFails() async throws {
        let server = try await HTTP2TestServer.start()
        let certificates = HTTP2TestCertificates.shared
        let good = await PeerProbe.run(
            server.configuration(), tls: certificates.client(), verifier: { _ in nil })
        #expect(good.isGood)
        #expect(good.results.map(\.step) == PeerProbe.Step.allCases)
        #expect(good.health?.header("date") == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(good.serverCertificate != nil)
        #expect(good.addresses == ["127.0.0.1"])

        let stranger = await PeerProbe.run(
            server.configuration(), tls: certificates.client("stranger"), verifier: { _ in nil })
        #expect(stranger.results.last?.step == .tls)
        #expect(stranger.results.last?.isGood == false)

        let impostor = await PeerProbe.run(
            server.configuration(), tls: certificates.client(),
            verifier: { _ in ServiceRefusal(reason: "wrong_peer", sentence: "not you") })
        #expect(impostor.results.last?.step == .identity)
        #expect(impostor.serverCertificate != nil)

        await server.stop()
        let gone = await PeerProbe.run(
            server.configuration(), tls: certificates.client(), verifier: { _ in nil })
        #expect(gone.results.last?.step == .tcp)
        #expect(gone.error?.transportKind == .refused)
    }
}

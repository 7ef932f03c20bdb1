import Facts
import Testing

@testable import RPC

@Suite struct GRPCTests {
    private func head(
        _ headers: [(name: String, value: String)], version: HTTPRequestHead.Version = .http2
    ) -> HTTPRequestHead {
        HTTPRequestHead(version: version, method: "POST", target: "/a/B", headers: headers)
    }

    @Test("gateway decision 31: what is gRPC is known by its media type, over HTTP/2 only", arguments: [
        ("application/grpc", true), ("Application/GRPC+proto", true),
        ("application/grpc+proto; charset=x", true), ("application/grpc+json", true),
        ("application/grpc-web", false), ("application/proto", false),
    ])
    func mediaTypes(_ type: String, _ isGRPC: Bool) {
        #expect(GRPCHead.isGRPC(head([("content-type", type)])) == isGRPC)
        #expect(!GRPCHead.isGRPC(head([("content-type", type)], version: .http1)))
    }

    @Test("gateway decision 31: a head says coding, deadline and what is taken")
    func heads() throws {
        let limits = RPCServerLimits()
        let read = try GRPCHead.read(
            head([
                ("content-type", "application/grpc"), ("grpc-encoding", "gzip"),
                ("grpc-accept-encoding", "identity, deflate, gzip"), ("grpc-timeout", "5S"),
            ]), limits: limits)
        #expect(read.framing == .grpc && read.codec == .proto && read.coding == .gzip)
        #expect(read.acceptsGzip && read.timeoutMilliseconds == 5_000)
        for (name, value, reason) in [
            ("content-type", "application/grpc+json", ErrorReason.unsupportedMediaType),
            ("grpc-encoding", "snappy", .unsupportedEncoding),
            ("grpc-timeout", "5", .malformedRequest),
        ] {
            var headers = [(name: "content-type", value: "application/grpc")]
            headers.removeAll { $0.name == name }
            headers.append((name, value))
            let error = #expect(throws: ServiceError.self) {
                try GRPCHead.read(self.head(headers), limits: limits)
            }
            #expect(error?.reason == reason)
        }
    }

    @Test("gateway decision 31: grpc-timeout in its six units", arguments: [
        ("1H", 60_000), ("1M", 60_000), ("2S", 2_000), ("2500m", 2_500), ("1500u", 2), ("1n", 1),
        ("99999999n", 100), ("99999999H", 60_000),
    ])
    func timeouts(_ text: String, _ milliseconds: Int) throws {
        #expect(try GRPCHead.timeout(text, RPCServerLimits()) == milliseconds)
    }

    @Test("gateway decision 31: a timeout that is none is refused", arguments: [
        "", "S", "5", "-5S", "123456789S", "5x", "5 S", "٥S",
    ])
    func badTimeouts(_ text: String) {
        #expect(throws: ServiceError.self) { try GRPCHead.timeout(text, RPCServerLimits()) }
    }

    @Test("gateway decision 31: one framed message, whole")
    func frames() throws {
        let framed = GRPCFrame.wrap([1, 2, 3], isCompressed: true)
        #expect(framed == [1, 0, 0, 0, 3, 1, 2, 3])
        let (message, isCompressed) = try GRPCFrame.unwrap(framed, coding: .gzip)
        #expect(message == [1, 2, 3] && isCompressed)
        #expect(try GRPCFrame.unwrap([0, 0, 0, 0, 0], coding: .gzip).message == [])
        for (body, coding) in [
            ([], .identity), ([0, 0, 0, 0], .identity), ([0, 0, 0, 0, 2, 1], .identity),
            ([0, 0, 0, 0, 0, 1], .identity), ([2, 0, 0, 0, 0], .identity),
            (framed, .identity), ([0, 255, 255, 255, 255], .identity),
            (framed + framed, .gzip),
        ] as [([UInt8], ConnectHead.Coding)] {
            #expect(throws: ServiceError.self) { try GRPCFrame.unwrap(body, coding: coding) }
        }
    }

    @Test("gateway decision 31: a message is percent-encoded, an error has trailers only")
    func answers() throws {
        #expect(GRPCAnswer.percentEncoded("a 100% ü\n") == "a 100%25 %C3%BC%0A")
        var error = ServiceError(.backpressure)
        error.failures = (0..<64).map { index in
            var failure = Bsfg_V1_AppendResult()
            failure.error.field = String(repeating: "x", count: 200) + "\(index)"
            return failure
        }
        error.failedCount = 64
        let answer = GRPCAnswer.failure(error)
        #expect(answer.body == nil && answer.trailers[0] == ("grpc-status", "8"))
        // With 32 bytes for each field, as clients count.
        func bytes(_ answer: GRPCAnswer) -> Int {
            answer.trailers.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 }
        }
        #expect(bytes(answer) < 8 << 10, "clients take 8 KiB of trailers")
        // What a caller sent may be quoted at length, in any alphabet.
        for text in ["x", "%", "ü"] {
            let long = String(repeating: text, count: 1 << 14)
            error.message = long
            error.field = long
            #expect(bytes(GRPCAnswer.failure(error)) < 8 << 10, "\(text)")
        }
    }
}

@testable import RPC

/// Any head and body as a call, in Connect's framing or in gRPC's. Each is answered once, in the framing that it was
/// sent in, an echo comes back as it went, and nothing is held afterwards.
///
///     1    options: 3 the procedure, 4 the caller is refused, 8 HTTP/1.1, 112 how the body is cut
///     1    how many headers
///     ...  for each: which name, then its value: a length in one byte, the bytes
///     ...  the body
enum CallHarness {
    private static let procedures = [
        HarnessService.echo, HarnessService.refuse, HarnessService.late, "/bsfg.v1.BoundaryService/None",
    ]
    private static let pieceBytes = [1, 2, 5, 6, 64, 1_000, 1 << 14, 1 << 20]
    private static let connectNames = [
        "content-type", "content-encoding", "connect-timeout-ms", "connect-protocol-version",
        "accept-encoding", "content-length", "connect-accept-encoding",
    ]
    private static let grpcNames = [
        "content-type", "grpc-encoding", "grpc-timeout", "grpc-accept-encoding", "content-length", "te",
    ]

    static func connect(_ bytes: UnsafeRawBufferPointer) {
        let call = Call(bytes, connectNames, [("content-type", "application/json")])
        // A head that says gRPC over HTTP/2 is none of Connect's.
        guard !GRPCHead.isGRPC(call.head) else { return }
        guard case .connect(let status, let headers, let body) = call.run() else {
            harnessFailure("a call of Connect is not answered as one")
        }
        guard (200..<600).contains(status), headers.contains(where: { $0.name == "content-type" }) else {
            harnessFailure("an answer has the status \(status) and no content type")
        }
        guard status == 200 || body.first == UInt8(ascii: "{") else {
            harnessFailure("an error is no JSON object")
        }
        if status == 200, !headers.contains(where: { $0.name == "content-encoding" }),
            call.head.header("content-encoding") ?? "identity" == "identity", body != call.body
        {
            harnessFailure("an echo is not what was sent")
        }
    }

    static func grpc(_ bytes: UnsafeRawBufferPointer) {
        var call = Call(bytes, grpcNames, [])
        call.head.version = .http2
        if call.head.header("content-type") == nil {
            call.head.headers.append(("content-type", "application/grpc"))
        }
        guard GRPCHead.isGRPC(call.head) else { return }
        guard case .grpc(let answer) = call.run() else {
            harnessFailure("a call of gRPC is not answered as one")
        }
        for (name, value) in answer.headers + answer.trailers
        where !(name + value).utf8.allSatisfy({ (0x20...0x7e).contains($0) }) {
            harnessFailure("the header \(name) holds what no header may")
        }
        let status = answer.trailers.first { $0.name == "grpc-status" }?.value ?? ""
        guard let body = answer.body else {
            guard let code = Int(status), (1...16).contains(code) else {
                harnessFailure("an answer without a message has the status \(status)")
            }
            return
        }
        guard status == "0", let answered = try? GRPCFrame.unwrap(body, coding: .gzip) else {
            harnessFailure("a message comes with the status \(status), or is not framed")
        }
        let sent = try? GRPCFrame.unwrap(call.body, coding: .gzip)
        if let sent, !sent.isCompressed, !answered.isCompressed, sent.message != answered.message {
            harnessFailure("an echo is not what was sent")
        }
    }

    private struct Call {
        var head: HTTPRequestHead
        let body: [UInt8]
        private let options: UInt8

        init(
            _ bytes: UnsafeRawBufferPointer, _ names: [String],
            _ unlessGiven: [(name: String, value: String)]
        ) {
            var input = HarnessInput(bytes)
            options = input.byte()
            var headers: [(name: String, value: String)] = []
            for _ in 0..<min(input.byte(), 16) {
                let name = names[Int(input.byte()) % names.count]
                let value = input.take(Int(input.byte()))
                headers.append((name, String(decoding: value, as: UTF8.self)))
            }
            for header in unlessGiven where !headers.contains(where: { $0.name == header.name }) {
                headers.append(header)
            }
            body = input.all()
            head = HTTPRequestHead(
                version: options & 8 == 0 ? .http2 : .http1, method: "POST",
                target: procedures[Int(options & 3)], headers: headers)
        }

        func run() -> CallExchange.Answered? {
            CallExchange.call(
                head, body: body, pieceBytes: pieceBytes[Int(options >> 4) & 7],
                isRefused: options & 4 != 0)
        }
    }
}

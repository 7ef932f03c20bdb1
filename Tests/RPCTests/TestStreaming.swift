import Facts
import Foundation
import Synchronization

@testable import RPC

/// A streaming service whose calls can be held: `PUT /stream/…` counts, `GET /stream/<bytes>` gives.
final class TestStreaming: StreamingService {
    struct Seen: Sendable {
        var receivedBytes = 0
        var givenBytes = 0
        var abandoned = 0
        var answered = 0
    }

    private struct State: Sendable {
        var seen = Seen()
        var holds = false
        var held: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    var seen: Seen { state.withLock { $0.seen } }
    func change(_ body: (inout Seen) -> Void) { state.withLock { body(&$0.seen) } }

    /// From now on completions wait.
    func hold() { state.withLock { $0.holds = true } }

    func release() {
        let held = state.withLock { state in
            state.holds = false
            defer { state.held = [] }
            return state.held
        }
        for completion in held { completion() }
    }

    /// Completes on another thread, or when it is released.
    func complete(_ body: @escaping @Sendable () -> Void) {
        let isHeld = state.withLock { state in
            if state.holds { state.held.append(body) }
            return state.holds
        }
        if !isHeld { DispatchQueue.global().async { body() } }
    }

    func serves(path: String) -> Bool { path.hasPrefix("/stream/") }

    func begin(_ request: StreamingRequest) throws(ServiceError) -> any StreamingCall {
        if request.path == "/stream/refused" {
            throw ServiceError(.bucketNotGranted, "Not for \(request.caller.identity).")
        }
        return TestStreamingCall(self, request)
    }
}

private final class TestStreamingCall: StreamingCall {
    private let service: TestStreaming
    private let request: StreamingRequest
    private let received = Mutex(0)

    init(_ service: TestStreaming, _ request: StreamingRequest) {
        self.service = service
        self.request = request
    }

    func receive(_ bytes: [UInt8], _ completion: @escaping @Sendable (ServiceError?) -> Void) {
        service.change { $0.receivedBytes += bytes.count }
        received.withLock { $0 += bytes.count }
        let fails = request.path == "/stream/full"
        service.complete { completion(fails ? ServiceError(.artifactStoreFull) : nil) }
    }

    func answer(_ completion: @escaping @Sendable (Result<StreamingAnswer, ServiceError>) -> Void) {
        service.change { $0.answered += 1 }
        let count =
            request.method == "PUT"
            ? received.withLock { $0 } : Int(request.path.dropFirst("/stream/".count)) ?? 0
        var headers = [("x-received", String(received.withLock { $0 }))]
        if request.query == "unclean" {
            headers.append(("x-unclean", HTTP2TestServer.uncleanValue))
        }
        let isCut = request.query == "cut"
        service.complete { [service, headers] in
            completion(
                .success(
                    StreamingAnswer(
                        status: 200, headers: headers, contentLength: UInt64(count),
                        body: TestStreamingBody(service, isCut: isCut))))
        }
    }

    func abandon() { service.change { $0.abandoned += 1 } }
}

/// The bytes 0, 1, 2, … of each position modulo 251.
private final class TestStreamingBody: StreamingBody {
    private let service: TestStreaming
    private let isCut: Bool
    private let position = Mutex(0)

    init(_ service: TestStreaming, isCut: Bool) {
        self.service = service
        self.isCut = isCut
    }

    func read(
        _ count: Int, _ completion: @escaping @Sendable (Result<[UInt8], ServiceError>) -> Void
    ) {
        let from = position.withLock { position in
            defer { position += count }
            return position
        }
        if isCut, from > 0 { return completion(.failure(ServiceError(.internal))) }
        service.change { $0.givenBytes += count }
        service.complete {
            completion(.success((from..<(from + count)).map { UInt8($0 % 251) }))
        }
    }
}

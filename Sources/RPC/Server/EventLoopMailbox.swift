internal import NIOCore
internal import Synchronization

/// What one event loop shares between its connections: the answers that other threads hand over,
/// gathered so that a burst costs one wake-up, and the requests in flight, whose deadlines one timer
/// watches instead of one each.
final class EventLoopMailbox: @unchecked Sendable {
    // Sendable by hand: `letters` has a lock, everything else is touched on the event loop only.

    private struct Letters {
        var waiting: [(ServerRequest, RPCReply)] = []
        var awake = false
    }

    let eventLoop: any EventLoop
    private let letters = Mutex(Letters())
    private var delivering: [(ServerRequest, RPCReply)] = []
    private var requests: [ServerRequest] = []
    private var nextLook: (at: NIODeadline, task: Scheduled<Void>)?
    private var flushes: [any BurstFlushing] = []
    private var isDelivering = false

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    // MARK: Answers

    /// From any thread.
    func post(_ reply: RPCReply, to request: ServerRequest) {
        let wake = letters.withLock { letters in
            letters.waiting.append((request, reply))
            if letters.awake { return false }
            letters.awake = true
            return true
        }
        if wake { eventLoop.execute { self.deliver() } }
    }

    private func deliver() {
        letters.withLock { letters in
            swap(&letters.waiting, &delivering)
            letters.awake = false
        }
        isDelivering = true
        for (request, reply) in delivering { request.complete(reply) }
        delivering.removeAll(keepingCapacity: true)
        isDelivering = false
        guard !flushes.isEmpty else { return }
        let waiting = flushes
        flushes.removeAll(keepingCapacity: true)
        for connection in waiting { connection.flushBurst() }
    }

    /// Flushes once the burst at hand is written, or now.
    func flush(_ connection: any BurstFlushing) {
        if isDelivering { flushes.append(connection) } else { connection.flushBurst() }
    }

    // MARK: Requests in flight

    func add(_ request: ServerRequest) {
        request.slot = requests.count
        requests.append(request)
        look(at: request.attention)
    }

    func remove(_ request: ServerRequest) {
        guard request.slot >= 0 else { return }
        let last = requests.removeLast()
        if last !== request {
            requests[request.slot] = last
            last.slot = request.slot
        }
        request.slot = -1
    }

    /// Sees to a look at this time or before. Deadlines mostly rise from request to request, so
    /// this seldom schedules anything.
    private func look(at time: NIODeadline) {
        if let nextLook, nextLook.at <= time { return }
        nextLook?.task.cancel()
        let task = eventLoop.assumeIsolated().scheduleTask(deadline: time) { self.look() }
        nextLook = (time, task)
    }

    private func look() {
        nextLook = nil
        let now = NIODeadline.now()
        var next: NIODeadline?
        // A request that expires may leave the list, so a copy is walked.
        for request in requests {
            if request.attention <= now { request.expire() }
            guard request.slot >= 0 else { continue }
            next = min(next ?? .distantFuture, request.attention)
        }
        if let next, next < .distantFuture { look(at: next) }
    }
}

/// A connection that can write what it gathered.
protocol BurstFlushing: AnyObject {
    func flushBurst()
}

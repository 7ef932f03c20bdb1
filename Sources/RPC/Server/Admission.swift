internal import Synchronization

/// Counts what connections and requests hold, against the limits. Safe from any thread.
final class Admission: Sendable {
    /// What one identity holds.
    final class Holder: Sendable {
        let connections = Atomic<Int>(0)
        let inFlight = Atomic<Int>(0)
        fileprivate let bodySteps = Atomic<Int>(0)
        /// The operator of this machine is not refused for what others hold.
        let isAdministrator: Bool

        init(isAdministrator: Bool) { self.isAdministrator = isAdministrator }
    }

    enum ConnectionRefusal: String, Sendable {
        case connections
        case unauthenticated
        case unauthenticatedPerAddress = "unauthenticated_per_address"
        case administration
    }

    private struct Connections {
        var open = 0
        var administration = 0
        var unauthenticated = 0
        var unauthenticatedByAddress: [[UInt8]: Int] = [:]
        var holders: [[UInt8]: Holder] = [:]
    }

    private let limits: RPCServerLimits
    private let state = Mutex(Connections())
    private let inFlight = Atomic<Int>(0)
    private let bodySteps = Atomic<Int>(0)

    static let bodyStepBytes = 64 << 10
    /// One part in so many of the requests in flight and of the bodies' budget is kept for identities that
    /// hold little, so that a few who take all they may do not shut the others out.
    private static let keptShare = 8
    private static let littleInFlight = 16
    private static let littleBodySteps = (1 << 20) / bodyStepBytes

    init(_ limits: RPCServerLimits) {
        self.limits = limits
    }

    // MARK: Connections

    func openConnection(address: [UInt8]) -> ConnectionRefusal? {
        state.withLock { state in
            if state.open >= limits.connections { return .connections }
            if state.unauthenticated >= limits.unauthenticatedConnections {
                return .unauthenticated
            }
            let here = state.unauthenticatedByAddress[address, default: 0]
            if here >= limits.unauthenticatedConnectionsPerAddress {
                return .unauthenticatedPerAddress
            }
            state.open += 1
            state.unauthenticated += 1
            state.unauthenticatedByAddress[address] = here + 1
            return nil
        }
    }

    /// The connection leaves the pool of those not yet authenticated.
    func authenticated(address: [UInt8]) {
        state.withLock { leaveUnauthenticated(&$0, address) }
    }

    func closeConnection(address: [UInt8], authenticated: Bool) {
        state.withLock { state in
            state.open -= 1
            if !authenticated { leaveUnauthenticated(&state, address) }
        }
    }

    private func leaveUnauthenticated(_ state: inout Connections, _ address: [UInt8]) {
        state.unauthenticated -= 1
        let left = state.unauthenticatedByAddress[address, default: 1] - 1
        state.unauthenticatedByAddress[address] = left == 0 ? nil : left
    }

    func openAdministration() -> ConnectionRefusal? {
        state.withLock { state in
            if state.administration >= limits.administrationConnections { return .administration }
            state.administration += 1
            return nil
        }
    }

    func closeAdministration() {
        state.withLock { $0.administration -= 1 }
    }

    /// One more connection of this identity; nil at its limit.
    func hold(identity: String, limit: Int, isAdministrator: Bool) -> Holder? {
        state.withLock { state in
            let key = Array(identity.utf8)
            let holder = state.holders[key] ?? Holder(isAdministrator: isAdministrator)
            guard holder.connections.load(ordering: .relaxed) < limit else { return nil }
            holder.connections.add(1, ordering: .relaxed)
            state.holders[key] = holder
            return holder
        }
    }

    func release(_ holder: Holder, identity: String) {
        state.withLock { state in
            let left = holder.connections.subtract(1, ordering: .relaxed).newValue
            // A request that outlives its connections keeps its holder, so that it keeps counting.
            if left == 0, holder.inFlight.load(ordering: .relaxed) == 0 {
                state.holders[Array(identity.utf8)] = nil
            }
        }
    }

    var openConnections: Int { state.withLock { $0.open } }

    // MARK: Requests

    func beginRequest(_ holder: Holder) -> Bool {
        let own = holder.inFlight.add(1, ordering: .relaxed).newValue
        if own > limits.inFlightPerIdentity {
            holder.inFlight.subtract(1, ordering: .relaxed)
            return false
        }
        let kept = own > Self.littleInFlight ? limits.inFlight / Self.keptShare : 0
        if inFlight.add(1, ordering: .relaxed).newValue > limits.inFlight - kept,
            !holder.isAdministrator
        {
            inFlight.subtract(1, ordering: .relaxed)
            holder.inFlight.subtract(1, ordering: .relaxed)
            return false
        }
        return true
    }

    func endRequest(_ holder: Holder) {
        holder.inFlight.subtract(1, ordering: .relaxed)
        inFlight.subtract(1, ordering: .relaxed)
    }

    var requestsInFlight: Int { inFlight.load(ordering: .relaxed) }

    // MARK: Bodies

    static func steps(bytes: Int) -> Int {
        (bytes + bodyStepBytes - 1) / bodyStepBytes
    }

    /// Takes steps of 64 KiB from the budget that all bodies share, those of requests and those of answers,
    /// or none. One identity's share is bounded, so that nobody can shut the others out.
    func takeBody(steps: Int, _ holder: Holder) -> Bool {
        if steps == 0 { return true }
        let own = holder.bodySteps.add(steps, ordering: .relaxed).newValue
        let all = bodySteps.add(steps, ordering: .relaxed).newValue
        let budget = limits.bodyBudgetBytes / Self.bodyStepBytes
        let kept = own > Self.littleBodySteps ? budget / Self.keptShare : 0
        if own > limits.bodyBudgetBytesPerIdentity / Self.bodyStepBytes
            || (all > budget - kept && !holder.isAdministrator)
        {
            giveBody(steps: steps, holder)
            return false
        }
        return true
    }

    /// For bytes that exist already, and are fewer than what the caller was granted to cause them.
    func takeBodyRegardless(steps: Int, _ holder: Holder) {
        guard steps > 0 else { return }
        holder.bodySteps.add(steps, ordering: .relaxed)
        bodySteps.add(steps, ordering: .relaxed)
    }

    /// The most that one request of an identity that holds nothing else may have.
    var bodyStepsMaximum: Int {
        let budget = limits.bodyBudgetBytes / Self.bodyStepBytes
        return min(
            limits.bodyBudgetBytesPerIdentity / Self.bodyStepBytes, budget - budget / Self.keptShare)
    }

    func giveBody(steps: Int, _ holder: Holder) {
        guard steps > 0 else { return }
        holder.bodySteps.subtract(steps, ordering: .relaxed)
        bodySteps.subtract(steps, ordering: .relaxed)
    }

    var bodyBytesHeld: Int { bodySteps.load(ordering: .relaxed) * Self.bodyStepBytes }
}

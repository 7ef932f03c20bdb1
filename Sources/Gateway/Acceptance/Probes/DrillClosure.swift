internal import RPC
internal import Synchronization

/// The gate that a drill keeps closed at the moment: whoever ends the program before the drill has come to its end
/// opens it by this.
package final class DrillClosure: Sendable {
    private static let patienceMilliseconds: Int64 = 5_000

    private struct State {
        var closed: (request: Bsfg_Admin_V1_PartitionRequest, admin: AdminClient)?
        var isOver = false
    }

    private let state = Mutex(State())

    package init() {}

    /// A gate is about to be closed.
    /// - Returns: whether it may be: not when the program is about to end.
    func begin(_ request: Bsfg_Admin_V1_PartitionRequest, _ admin: AdminClient) -> Bool {
        state.withLock { state in
            guard !state.isOver else { return false }
            state.closed = (request, admin)
            return true
        }
    }

    /// It is open again, or was never closed.
    func end() { state.withLock { $0.closed = nil } }

    /// Opens what is closed, and lets nothing be closed any more.
    /// - Returns: nil where nothing was closed, else whether it is open now.
    package func open() async -> Bool? {
        let closed = state.withLock { state in
            state.isOver = true
            return state.closed
        }
        guard let closed else { return nil }
        // The call that closes it may still be on its way, behind this one.
        let deadline = PeerLink.nowMilliseconds() + Self.patienceMilliseconds
        while PeerLink.nowMilliseconds() < deadline {
            let answer = try? await closed.admin.reconcile(Self.reopening(closed.request))
            if answer?.wasClosed == true { return true }
            // Opened meanwhile by the drill itself.
            if state.withLock({ $0.closed == nil }) { return true }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    /// What ends a closure and no other.
    static func reopening(_ request: Bsfg_Admin_V1_PartitionRequest) -> Bsfg_Admin_V1_ReconcileRequest {
        var reopening = Bsfg_Admin_V1_ReconcileRequest()
        reopening.peer = request.peer
        reopening.onlyReason = request.reason
        return reopening
    }
}

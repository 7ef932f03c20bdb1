/// A connection's places under the limits. Confined to the connection's event loop.
final class ConnectionTicket: @unchecked Sendable {
    // Sendable by hand: made, changed and released on the connection's event loop.

    /// The other side's IP address; `unix` on the unix socket.
    let address: String
    private let admission: Admission
    private let isLocal: Bool
    private var isAuthenticated = false
    private var held: (holder: Admission.Holder, identity: String)?

    /// Without an address: on the unix socket.
    init(_ admission: Admission, address: String?) {
        self.admission = admission
        self.address = address ?? "unix"
        isLocal = address == nil
    }

    func authenticated(as identity: String, _ holder: Admission.Holder) {
        isAuthenticated = true
        held = (holder, identity)
        if !isLocal { admission.authenticated(address: Array(address.utf8)) }
    }

    func release() {
        if let held { admission.release(held.holder, identity: held.identity) }
        held = nil
        if isLocal {
            admission.closeAdministration()
        } else {
            admission.closeConnection(
                address: Array(address.utf8), authenticated: isAuthenticated)
        }
    }
}

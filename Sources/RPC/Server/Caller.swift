/// Who is on the other side of a connection, as configuration knows it.
package struct Caller: Sendable, Equatable {
    /// What the configuration says the caller is.
    package enum Kind: Sendable, Hashable {
        /// An entry of `peers.yaml`, by its short name.
        case peer(id: String)
        /// An entry of `clients`, by its name.
        case client(name: String)
        /// The process at the other end of the administration socket.
        case administrator(userID: UInt32)
    }

    package var kind: Kind
    /// The configured identity that the certificate matched; `uid:<number>` on the unix socket.
    package var identity: String
    /// What the certificate says; absent on the unix socket.
    package var certificate: CallerCertificate?

    package init(kind: Kind, identity: String, certificate: CallerCertificate? = nil) {
        self.kind = kind
        self.identity = identity
        self.certificate = certificate
    }
}

/// The facts of a leaf certificate that logs, audit and the request checks need.
package struct CallerCertificate: Sendable, Equatable {
    /// Every name of the enabled kinds that the certificate carries.
    package var names: [String]
    /// SHA-256 of the leaf, lower-case hex.
    package var fingerprint: String
    /// Lower-case hex.
    package var serial: String
    package var notBeforeUnixMilliseconds: Int64
    package var notAfterUnixMilliseconds: Int64

    package init(
        names: [String], fingerprint: String, serial: String,
        notBeforeUnixMilliseconds: Int64, notAfterUnixMilliseconds: Int64
    ) {
        self.names = names
        self.fingerprint = fingerprint
        self.serial = serial
        self.notBeforeUnixMilliseconds = notBeforeUnixMilliseconds
        self.notAfterUnixMilliseconds = notAfterUnixMilliseconds
    }
}

internal import RPC

/// `host:port`, `192.0.2.1:9443` or `[2001:db8::1]:9443`.
package struct HostPort: Sendable, Hashable, CustomStringConvertible {
    /// A name or address without brackets.
    package let host: String
    package let port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `allowsPortZero` for listeners: the system chooses then.
    package init?(_ text: String, allowsPortZero: Bool = false) {
        let bytes = Array(text.utf8)
        guard bytes.count <= 260, let colon = bytes.lastIndex(of: UInt8(ascii: ":")) else { return nil }
        guard let port = Quantity.number(String(decoding: bytes[(colon + 1)...], as: UTF8.self)),
            port <= 65_535, port > 0 || allowsPortZero
        else { return nil }
        let host = bytes[..<colon]
        if host.first == UInt8(ascii: "["), host.last == UInt8(ascii: "]"), host.count > 2 {
            let inner = String(decoding: host.dropFirst().dropLast(), as: UTF8.self)
            guard inner.utf8.contains(UInt8(ascii: ":")), IPAddress(inner) != nil else { return nil }
            self.host = inner
        } else {
            let name = String(decoding: host, as: UTF8.self)
            guard CertificateAuthority.isHostName(name) else { return nil }
            self.host = name
        }
        self.port = port
    }

    package var description: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

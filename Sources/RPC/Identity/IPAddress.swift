internal import Glibc

/// An IPv4 or IPv6 address as certificates hold it: 4 or 16 bytes.
package struct IPAddress: Sendable, Hashable {
    package let bytes: [UInt8]

    package init?(_ bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// Nil when the text is no address (then it is a host name). Brackets are not part of it.
    package init?(_ text: String) {
        var parsed = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &parsed) == 1 {
            bytes = Array(parsed[..<4])
        } else if inet_pton(AF_INET6, text, &parsed) == 1 {
            bytes = parsed
        } else {
            return nil
        }
    }

    package var text: String {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = bytes.count == 4 ? AF_INET : AF_INET6
        inet_ntop(family, bytes, &buffer, socklen_t(buffer.count))
        return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// 0.0.0.0 and ::, which listen everywhere and which no certificate can name.
    package var isUnspecified: Bool { bytes.allSatisfy { $0 == 0 } }
}

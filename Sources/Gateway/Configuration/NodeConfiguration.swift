package import Buffers
package import RPC

/// What `bsfg.yaml`, `peers.yaml` and `cursors.yaml` say, checked as a whole. Every path is
/// absolute.
package struct NodeConfiguration: Sendable {
    /// The directory that was read.
    package var directory: String
    package var zone: String
    /// The name in this node's certificate.
    package var identity: String
    package var dataDirectory: String
    package var listeners: [ListenerConfiguration]
    package var tls: TLSConfiguration
    package var adminSocketPath: String
    /// Zones that are neither this one nor a peer but may be named.
    package var otherZones: [String]
    package var streams: [StreamConfiguration]
    package var clients: [ClientConfiguration]
    package var peers: [PeerConfiguration]
    package var cursors: [CursorConfiguration]
    package var limits: RPCServerLimits
    package var peerLimits = PeerConnectionLimits()
    /// The memory that the key indexes of all logs share.
    package var indexBudgetBytes: Int
    /// What waits in quarantine may take this much.
    package var quarantineBytes: Int = NodeConfiguration.quarantineDefaultBytes
    package var logLevel: LogLevel
    /// The artifact store; nil where nothing uses one.
    package var artifacts: ArtifactConfiguration?

    package static let quarantineDefaultBytes = 128 << 20

    /// Every zone that a fact may come from or go to.
    package var knownZones: [String] { [zone] + peers.map(\.id) + otherZones }

    /// Whether any stream promises what `sil_strict` does.
    package var isStrict: Bool { streams.contains { $0.profile == .silStrict } }

    package func stream(_ name: String) -> StreamConfiguration? {
        streams.first { $0.name.utf8.elementsEqual(name.utf8) }
    }

    package func peer(id: String) -> PeerConfiguration? {
        peers.first { $0.id.utf8.elementsEqual(id.utf8) }
    }

    package func client(identity: String) -> ClientConfiguration? {
        clients.first { $0.identity.utf8.elementsEqual(identity.utf8) }
    }
}

package struct ListenerConfiguration: Sendable, Equatable {
    package var address: HostPort
    package var accept: RPCListener.Acceptance
}

package struct TLSConfiguration: Sendable, Equatable {
    /// Roots and issuing CAs of peers without a `ca` of their own.
    package var authorityFiles: [String]
    package var certificateFile: String
    package var keyFile: String
    /// Roots and issuing CAs of clients without a `ca` of their own.
    package var clientAuthorityFiles: [String]
    /// Of `ca`, for peers without a `ca` of their own.
    package var revocation = RevocationConfiguration()
    /// Of `client_ca`, for clients without a `ca` of their own.
    package var clientRevocation = RevocationConfiguration()
    package var identityFrom: Set<IdentityNameKind>
}

package struct StreamConfiguration: Sendable, Equatable {
    package enum Profile: String, Sendable, CaseIterable {
        case standard
        case silStrict = "sil_strict"
    }

    package enum Idempotency: String, Sendable, CaseIterable {
        case messageID = "message_id"
        case content
    }

    package var name: String
    package var profile: Profile = .standard
    /// The log of this zone's own facts.
    package var store = BufferConfiguration()
    /// The logs of other zones' facts.
    package var forward = BufferConfiguration()
    package var objectBytesMaximum: Int = 1 << 20
    package var idempotency: Idempotency = .messageID
    package var artifactReferences: ArtifactReferencePolicy = .unchecked

    package static let defaultName = "facts.operational"
}

package struct ClientConfiguration: Sendable, Equatable {
    package enum Role: String, Sendable, CaseIterable {
        case producer, consumer, monitor, `operator`, auditor
    }

    package var identity: String
    package var roles: Set<Role>
    package var streams: [String]
    package var origins: [String]
    /// Buckets that a producer may put into and a consumer may read.
    package var artifacts: [String] = []
    package var authorityFiles: [String]
    /// Of its CAs.
    package var revocation = RevocationConfiguration()
}

package struct PeerConfiguration: Sendable, Equatable {
    package enum Start: String, Sendable, CaseIterable {
        case auto, manual
    }

    package enum Compression: String, Sendable, CaseIterable {
        case none, lz4
    }

    /// The peer's zone.
    package var id: String
    package var identity: String
    /// Nil for a peer that only pulls from us.
    package var endpoint: HostPort?
    package var authorized: Bool
    /// What the peer may take from us.
    package var streams: [String]
    package var artifacts: [String]
    package var origins: [String]
    package var authorityFiles: [String]
    /// Of its CAs.
    package var revocation = RevocationConfiguration()
    package var start: Start
    /// Whether truncation waits for this peer however long it stays away.
    package var hold: CursorHold = .required
    /// Of pages between the two nodes, where both entries say so.
    package var compression: Compression = .none
    /// Whether the peer is told of new facts while it is not waiting for them.
    package var isNotified = false
}

/// What we pull: a stream of one origin from one peer.
package struct CursorConfiguration: Sendable, Equatable {
    package var peer: String
    package var stream: String
    package var origin: String
    package var initMode: CursorInitMode
    package var justification: String?
}

package enum CursorInitMode: Sendable, Equatable, CustomStringConvertible {
    case startNow
    case fullBackfill
    case boundedBackfill(hours: Int)
    case explicitTimestamp(unixMilliseconds: Int64)

    package static let hoursMaximum = 87_600

    /// As on the wire and in `cursors.yaml`.
    package var description: String {
        switch self {
        case .startNow: "start_now"
        case .fullBackfill: "full_backfill"
        case .boundedBackfill(let hours): "bounded_backfill_\(hours)h"
        case .explicitTimestamp: "explicit_timestamp"
        }
    }

    /// Every mode but `explicit_timestamp`, which needs its time.
    package init?(_ text: String) {
        let prefix = "bounded_backfill_"
        if text.utf8.elementsEqual("start_now".utf8) {
            self = .startNow
        } else if text.utf8.elementsEqual("full_backfill".utf8) {
            self = .fullBackfill
        } else if text.utf8.starts(with: prefix.utf8), text.utf8.last == UInt8(ascii: "h"),
            let hours = Quantity.number(String(text.dropFirst(prefix.count).dropLast())),
            hours >= 1, hours <= Self.hoursMaximum
        {
            self = .boundedBackfill(hours: hours)
        } else {
            return nil
        }
    }
}

/// The words of swift-log.
package enum LogLevel: String, Sendable, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
}

/// Zone and stream names: they become directory names, so their letters are few.
package enum ZoneName {
    package static let bytesMaximum = 64
    package static let rule =
        "1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit"

    /// `[a-z0-9][a-z0-9._-]{0,63}`
    package static func isValid(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard let first = bytes.first, bytes.count <= bytesMaximum, isWord(first) else {
            return false
        }
        return bytes.allSatisfy { byte in
            isWord(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
                || byte == UInt8(ascii: "-")
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        (byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z"))
            || (byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"))
    }
}

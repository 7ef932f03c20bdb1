internal import FoundationEssentials
package import RPC

/// What one node says of itself at one moment: all that the other side of a federation needs to know to
/// judge. No keys, no facts.
package struct NodeEvidence: Sendable, Codable, Equatable {
    package static let format = "bsfg.federation.evidence.v1"
    /// Of a file, before it is read.
    package static let bytesMaximum = 4 << 20
    /// What is kept of a list.
    static let listCountMaximum = 1_000

    package struct Log: Sendable, Codable, Equatable {
        package var stream: String
        package var origin: String
        /// `store` or `forward`.
        package var role: String
        /// In hexadecimal.
        package var identifier: String
        package var epoch: UInt64
        package var firstOffset: UInt64
        package var headOffset: UInt64
        package var gapCount: Int
        /// `writing`, or why it stopped.
        package var state: String
        package var isAlarmed: Bool
    }

    package struct Pull: Sendable, Codable, Equatable {
        package var peer: String
        package var stream: String
        package var origin: String
        package var state: String
        package var reason: String
        package var sentence: String
        package var nextOffset: UInt64?
        package var confirmedOffset: UInt64?
        package var sourceHeadOffset: UInt64?
        package var materialisedCount: UInt64
        package var redeliveredCount: UInt64
        /// Of what was asked for again: as it is stored, with nothing to hold it against, and altered. Nil in the
        /// evidence of a release that did not say.
        package var recognisedCount: UInt64?
        package var uncomparedCount: UInt64?
        package var alteredCount: UInt64?
    }

    package struct Reader: Sendable, Codable, Equatable {
        package var owner: String
        package var name: String
        package var stream: String
        package var origin: String
        package var nextOffset: UInt64
        package var detached: String
    }

    package struct Gate: Sendable, Codable, Equatable {
        package struct Direction: Sendable, Codable, Equatable {
            package var mode: String
            /// Why it is closed; empty where it is not.
            package var reason: String

            package var isNormal: Bool { mode.utf8.elementsEqual("normal".utf8) }
        }

        package var peer: String
        /// The worse direction's.
        package var mode: String
        package var isClosedByOperator: Bool
        package var reason: String
        /// Nil where nothing is pulled from the peer, and in the evidence of a release that did not say.
        package var inbound: Direction?
        /// Nil where nothing is granted to the peer, and in the evidence of a release that did not say.
        package var outbound: Direction?

        package var isNormal: Bool { mode.utf8.elementsEqual("normal".utf8) }
    }

    package struct Artifact: Sendable, Codable, Equatable {
        /// A log whose facts refer to it.
        package struct Use: Sendable, Codable, Equatable {
            package var stream: String
            package var origin: String
        }

        package var zone: String
        package var name: String
        /// As `bsfg artifact list` has it.
        package var state: String
        /// By pulled facts, the one first by which it is fetched; not all of many. Nil where the node did not say.
        package var uses: [Use]?
        /// To fetch it, in a row; nil in the evidence of a release that did not say.
        package var failureCount: UInt32?
    }

    package struct StoredArtifacts: Sendable, Codable, Equatable {
        package var zone: String
        /// From whom they are fetched; nil where pulled facts do not refer to them, and in the evidence of a release
        /// that did not say.
        package var peer: String?
        package var count: UInt64
    }

    /// The node's own certificate, as it is in force.
    package struct OwnCertificate: Sendable, Codable, Equatable {
        /// In hexadecimal.
        package var serial: String
        /// Why not all that lies in the files is in force; empty where it is.
        package var refusedFiles: String
        /// Why others refuse it, as far as the node knows; empty where nothing is known.
        package var problem: String
    }

    /// A list that may be longer than what is looked at.
    package enum List: String, Sendable, Codable {
        case artifacts, quarantined
    }

    /// Facts that could not be materialised.
    package struct Quarantined: Sendable, Codable, Hashable {
        package var stream: String
        package var origin: String
        /// `malformed`, `digest_mismatch` or `conflict`.
        package var reason: String
    }

    package struct Refusals: Sendable, Codable, Equatable {
        package var reason: String
        package var count: UInt64
    }

    package struct Line: Sendable, Codable, Equatable {
        package var key: String
        package var value: String

        package init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    package var format = NodeEvidence.format
    package var takenAtUnixMs: Int64
    package var zone: String
    package var identity: String
    package var release: String
    /// What is in force, as `bsfg config show` has it.
    package var configuration: [Line]
    package var logs: [Log]
    package var pulls: [Pull]
    package var readers: [Reader]
    package var gates: [Gate]
    /// At most 1,000, those that are not here first.
    package var artifacts: [Artifact]
    /// Once for each stream, origin and reason, at most 1,000; nil in the evidence of a release that did not say.
    package var quarantined: [Quarantined]?
    /// Handshakes and callers refused since the node began, by reason; nil in the evidence of a release that did
    /// not say.
    package var refusals: [Refusals]?
    /// Handshakes and callers refused since the node began.
    package var refusedCount: UInt64
    /// The last of them, and of the calls that were denied, the oldest first: at most 256. Nil where they were
    /// not asked for, and in the evidence of a release that did not say.
    package var lastRefusals: [NodeRefusal]?
    /// How many of each zone and from each peer are here; nil in the evidence of a release that did not say.
    package var storedArtifacts: [StoredArtifacts]?
    /// Of which not everything was looked at; nil in the evidence of a release that did not say.
    package var unreadLists: [List]?
    /// Nil in the evidence of a release that did not say.
    package var certificate: OwnCertificate?

    package func log(stream: String, origin: String) -> Log? {
        logs.first {
            $0.stream.utf8.elementsEqual(stream.utf8) && $0.origin.utf8.elementsEqual(origin.utf8)
        }
    }

    package func pulls(from peer: String) -> [Pull] {
        pulls.filter { $0.peer.utf8.elementsEqual(peer.utf8) }
    }

    package func pull(peer: String, stream: String, origin: String) -> Pull? {
        pulls(from: peer).first {
            $0.stream.utf8.elementsEqual(stream.utf8) && $0.origin.utf8.elementsEqual(origin.utf8)
        }
    }

    /// Whether a peer has a cursor here that was not given up.
    package func isRead(by peer: String) -> Bool {
        readers.contains { $0.detached.isEmpty && $0.name.utf8.starts(with: "\(peer)/".utf8) }
    }

    /// The cursor of a peer, which is named after what it pulls.
    package func reader(zone: String, stream: String, origin: String) -> Reader? {
        readers.first { $0.name.utf8.elementsEqual("\(zone)/\(stream)/\(origin)".utf8) }
    }

    /// The last time that an identity, or who claimed to be it, was not let in.
    package func lastRefusal(of identity: String) -> NodeRefusal? {
        lastRefusals?.last { !$0.place.utf8.elementsEqual("request".utf8) && $0.names(identity: identity) }
    }

    package func gate(to peer: String) -> Gate? {
        gates.first { $0.peer.utf8.elementsEqual(peer.utf8) }
    }

    /// That an operator keeps the gate to a peer closed, in words; nil where none does.
    package func closure(of peer: String) -> String? {
        guard let gate = gate(to: peer), gate.isClosedByOperator else { return nil }
        return "the operator of \(zone) closed the gate to \(peer) (\(gate.reason))"
    }

    /// Whether all of a list was looked at.
    package func hasWhole(_ list: List) -> Bool {
        if let unreadLists { return !unreadLists.contains(list) }
        // Of a release that looked at this many and did not say so.
        switch list {
        case .artifacts: return artifacts.count < NodeEvidence.listCountMaximum
        case .quarantined: return quarantined?.count ?? 0 < NodeEvidence.listCountMaximum
        }
    }

    /// Whether a peer is asked for an artifact: a node goes by the log whose facts refer to it, whatever its zone.
    package func isFetched(_ artifact: Artifact, from peer: String) -> Bool {
        guard let uses = artifact.uses else {
            return pulls(from: peer).contains { $0.origin.utf8.elementsEqual(artifact.zone.utf8) }
        }
        for use in uses {
            let pull = pulls.first {
                $0.stream.utf8.elementsEqual(use.stream.utf8) && $0.origin.utf8.elementsEqual(use.origin.utf8)
            }
            if let pull { return pull.peer.utf8.elementsEqual(peer.utf8) }
        }
        return false
    }

    /// Artifacts that facts refer to, that a peer is asked for and that are here.
    package func storedCount(from peer: String) -> UInt64 {
        guard let storedArtifacts else {
            return UInt64(artifacts.count { $0.state == "stored" && isFetched($0, from: peer) })
        }
        return storedArtifacts.reduce(0) { sum, stored in
            stored.peer?.utf8.elementsEqual(peer.utf8) == true ? sum &+ stored.count : sum
        }
    }

    /// Whether an artifact is here for others to have.
    package func holds(_ artifact: Artifact) -> Bool {
        artifacts.contains {
            $0.state == "stored" && $0.zone.utf8.elementsEqual(artifact.zone.utf8)
                && $0.name.utf8.elementsEqual(artifact.name.utf8)
        }
    }
}

extension NodeEvidence {
    package func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
    }

    /// - Throws: one sentence for a file that is too large, no evidence, or of another release.
    package static func read(file: String) throws(CertificateError) -> NodeEvidence {
        let bytes = try SmallFile.read(file, bytesMaximum: bytesMaximum)
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let evidence = try? decoder.decode(NodeEvidence.self, from: Data(bytes)),
            evidence.format.utf8.elementsEqual(format.utf8)
        else {
            throw CertificateError(
                "\(file) is not the evidence of a node; export it there with: bsfg federation "
                    + "evidence --out FILE")
        }
        return evidence
    }
}

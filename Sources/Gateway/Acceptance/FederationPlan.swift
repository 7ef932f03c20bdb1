/// What two configurations would do together, before anything runs.
package struct FederationPlan: Sendable, Codable, Equatable {
    /// One stream of one origin, on its way from a source to a receiver.
    package struct Flow: Sendable, Codable, Equatable {
        package var source: String
        package var receiver: String
        package var stream: String
        package var origin: String
        package var initMode: String
        package var justification: String?
        /// Nil where the source's configuration is not known.
        package var isGranted: Bool?
    }

    /// What a zone lets another take.
    package struct Grant: Sendable, Codable, Equatable {
        package var from: String
        package var to: String
        package var isAuthorised: Bool
        package var streams: [String]
        package var origins: [String]
        package var artifacts: [String]
    }

    /// What keeps the two from working together, and on which side it is put right.
    package struct Problem: Sendable, Codable, Equatable {
        package var zone: String
        package var sentence: String
        package var remedy: String
    }

    package static let defaultInitMode = "bounded_backfill_24h"

    package private(set) var zone: String
    package private(set) var peer: String
    package private(set) var isPeerKnown: Bool
    package private(set) var flows: [Flow] = []
    package private(set) var grants: [Grant] = []
    package private(set) var problems: [Problem] = []

    /// - Parameter theirs: nil where the other side's configuration was not given; then only what ours says
    ///   alone is judged.
    package init(ours: FederationSide, theirs: FederationSide?, peer: String) {
        zone = ours.zone
        self.peer = peer
        isPeerKnown = theirs != nil
        guard let entry = ours.peer(peer) else {
            add(
                ours.zone, "\(peer) is not in peers.yaml of \(ours.zone)",
                "add an entry with id: \(peer), its identity and endpoint, authorized and streams")
            return
        }
        if let theirs, !theirs.zone.utf8.elementsEqual(peer.utf8) {
            add(
                ours.zone, "the other side is of the zone \(theirs.zone), not \(peer)",
                "give the configuration or evidence of \(peer)")
            return
        }
        look(ours, entry, theirs)
        if let theirs {
            if let back = theirs.peer(ours.zone) {
                look(theirs, back, ours)
            } else {
                add(
                    peer, "\(ours.zone) is not in peers.yaml of \(peer)",
                    "add an entry with id: \(ours.zone) and identity: \(ours.identity) there")
            }
        }
    }

    /// By what two nodes say is in force; of the other one only where that is of now.
    package init(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) {
        let current = theirs.flatMap { $0.isOfNow(atMilliseconds: ours.takenAtUnixMs) ? $0 : nil }
        self.init(ours: FederationSide(ours), theirs: current.map(FederationSide.init), peer: peer)
    }

    private mutating func add(_ zone: String, _ sentence: String, _ remedy: String) {
        problems.append(Problem(zone: zone, sentence: sentence, remedy: remedy))
    }

    /// One side's entry of the other, and what it pulls from there.
    private mutating func look(
        _ side: FederationSide, _ entry: FederationSide.Peer, _ other: FederationSide?
    ) {
        grants.append(
            Grant(
                from: side.zone, to: entry.id, isAuthorised: entry.isAuthorised,
                streams: entry.streams, origins: entry.origins, artifacts: entry.artifacts))
        if let other, !other.identity.utf8.elementsEqual(entry.identity.utf8) {
            add(
                side.zone,
                "\(side.zone) knows \(entry.id) as \(entry.identity), its own configuration says "
                    + other.identity,
                "correct identity in the entry \(entry.id) of peers.yaml of \(side.zone)")
        }
        if !entry.isAuthorised {
            add(
                side.zone, "\(side.zone) does not authorise \(entry.id)",
                "set authorized: true in the entry \(entry.id) of peers.yaml of \(side.zone)")
        }
        let pulls = side.pulls(from: entry.id)
        if !pulls.isEmpty, entry.endpoint == nil {
            add(
                side.zone, "\(side.zone) pulls from \(entry.id) and has no endpoint of it",
                "set endpoint in the entry \(entry.id) of peers.yaml of \(side.zone)")
        }
        for pull in pulls { look(pull, side, entry, other) }
    }

    private mutating func look(
        _ pull: FederationSide.Pull, _ side: FederationSide, _ entry: FederationSide.Peer,
        _ other: FederationSide?
    ) {
        var flow = Flow(
            source: entry.id, receiver: side.zone, stream: pull.stream, origin: pull.origin,
            initMode: pull.initMode, justification: pull.justification)
        defer { flows.append(flow) }
        guard let other, let back = other.peer(side.zone) else { return }
        let hasStream = back.streams.contains { $0.utf8.elementsEqual(pull.stream.utf8) }
        let hasOrigin = back.origins.contains { $0.utf8.elementsEqual(pull.origin.utf8) }
        flow.isGranted = back.isAuthorised && hasStream && hasOrigin
        let place = "in the entry \(side.zone) of peers.yaml of \(other.zone)"
        if !hasStream {
            add(
                other.zone,
                "\(side.zone) pulls \(pull.stream), which \(other.zone) does not grant it",
                "add \(pull.stream) to streams \(place)")
        }
        if !hasOrigin {
            add(
                other.zone,
                "\(side.zone) pulls facts of \(pull.origin), which \(other.zone) does not grant it",
                "add \(pull.origin) to origins \(place)")
        }
        if let here = side.profile(of: pull.stream), let there = other.profile(of: pull.stream),
            !here.utf8.elementsEqual(there.utf8)
        {
            add(
                side.zone,
                "\(pull.stream) has the profile \(here) in \(side.zone) and \(there) in \(other.zone)",
                "give the stream one profile in both")
        }
    }

    /// Flows whose beginning is not the default and which do not say why.
    package var unjustified: [Flow] {
        flows.filter { flow in
            !flow.initMode.utf8.elementsEqual(Self.defaultInitMode.utf8)
                && (flow.justification ?? "").isEmpty
        }
    }
}

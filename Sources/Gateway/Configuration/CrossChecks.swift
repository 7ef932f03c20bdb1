internal import RPC

/// What only the three files together can show. Each check says what to change.
struct CrossChecks {
    let main: NodeFile
    let peers: PeersFile
    let cursors: CursorsFile
    let problems: ProblemList

    func run() {
        checkZonesAndIdentities()
        checkOrigins()
        checkCursors()
        checkReaders()
    }

    private var ownZone: String { main.zone?.value ?? "" }

    private var knownZones: [String] {
        [ownZone] + peers.peers.map(\.value.id) + main.otherZones.map(\.value)
    }

    private func isKnownZone(_ zone: String) -> Bool {
        knownZones.contains { $0.utf8.elementsEqual(zone.utf8) }
    }

    private func unknownZone(_ zone: String) -> String {
        "the zone '\(zone)' is neither this one, a peer nor listed under 'zones' in bsfg.yaml; "
            + NearestName.hint(for: zone, among: knownZones)
    }

    private func checkZonesAndIdentities() {
        var ids: Set<[UInt8]> = []
        var identities: [[UInt8]: String] = [:]
        for peer in peers.peers {
            let id = peer.value.id
            if id.utf8.elementsEqual(ownZone.utf8) {
                problems.add(
                    peers.file, peer.position, "'\(id)' is this zone; a node is not its own peer")
            }
            if !ids.insert(Array(id.utf8)).inserted {
                problems.add(
                    peers.file, peer.position, "the peer '\(id)' is listed twice; keep one")
            }
            let identity = peer.value.identity
            if IdentityGrammar.folded(identity)
                == IdentityGrammar.folded(main.identity?.value ?? "")
            {
                problems.add(
                    peers.file, peer.position,
                    "the peer '\(id)' has this node's own identity '\(identity)'; give each zone "
                        + "its own")
            }
            checkIdentity(identity, "peer '\(id)'", peers.file, peer.position, &identities)
        }
        for client in main.clients {
            checkIdentity(
                client.value.identity, "a client", main.file, client.position, &identities)
        }
    }

    private func checkIdentity(
        _ identity: String, _ owner: String, _ file: String, _ position: YAMLPosition,
        _ seen: inout [[UInt8]: String]
    ) {
        let folded = IdentityGrammar.folded(identity)
        if let other = seen[folded] {
            problems.add(
                file, position,
                "the identity '\(identity)' is that of \(other) already; each entry needs its own "
                    + "certificate")
        } else {
            seen[folded] = owner
        }
    }

    private func checkOrigins() {
        for peer in peers.peers {
            for origin in peer.value.origins where !isKnownZone(origin) {
                problems.add(peers.file, peer.position, unknownZone(origin))
            }
        }
        for client in main.clients {
            for origin in client.value.origins where !isKnownZone(origin) {
                problems.add(main.file, client.position, unknownZone(origin))
            }
        }
    }

    private func checkCursors() {
        var sources: [[String]: String] = [:]
        for entry in cursors.cursors {
            let cursor = entry.value
            let peer = peers.peers.first { $0.value.id.utf8.elementsEqual(cursor.peer.utf8) }
            if let peer {
                checkPeer(peer.value, entry)
            } else {
                problems.add(
                    cursors.file, entry.peer,
                    "the peer '\(cursor.peer)' is not in peers.yaml; "
                        + NearestName.hint(for: cursor.peer, among: peers.peers.map(\.value.id)))
            }
            if let sentence = main.undefinedStream(cursor.stream) {
                problems.add(cursors.file, entry.stream, sentence)
            }
            if cursor.origin.utf8.elementsEqual(ownZone.utf8) {
                problems.add(
                    cursors.file, entry.origin,
                    "a node never pulls facts of its own zone '\(ownZone)'; remove the entry")
            } else if peer != nil && !isKnownZone(cursor.origin) {
                problems.add(cursors.file, entry.origin, unknownZone(cursor.origin))
            }
            checkJustification(entry)
            let key = [cursor.stream, cursor.origin]
            if let other = sources[key] {
                let isSame = other.utf8.elementsEqual(cursor.peer.utf8)
                problems.add(
                    cursors.file, entry.stream,
                    "stream '\(cursor.stream)' of origin '\(cursor.origin)' is pulled from "
                        + (isSame
                            ? "'\(other)' twice; keep one"
                            : "'\(other)' already; it may come from one peer only"))
            } else {
                sources[key] = cursor.peer
            }
        }
    }

    /// What is not the default is for a reason; a safety stream has to write it down.
    private func checkJustification(_ entry: CursorsFile.Entry) {
        let isStrict = main.streams.contains {
            $0.value.name.utf8.elementsEqual(entry.value.stream.utf8)
                && $0.value.profile == .silStrict
        }
        guard isStrict, entry.value.initMode != .boundedBackfill(hours: 24),
            entry.value.justification == nil
        else { return }
        problems.add(
            cursors.file, entry.stream,
            "the sil_strict stream '\(entry.value.stream)' begins with "
                + "\(entry.value.initMode) instead of bounded_backfill_24h; say why with the key "
                + "'justification'")
    }

    /// A log without readers keeps nothing for anybody; under `sil_strict` that is said, not concluded.
    private func checkReaders() {
        let node = main.configuration(
            directory: "", peers: peers.peers.map(\.value), cursors: cursors.cursors.map(\.value))
        for stream in main.streams where stream.value.profile == .silStrict {
            let origins = cursors.cursors.map(\.value).filter {
                $0.stream.utf8.elementsEqual(stream.value.name.utf8)
            }.map(\.origin)
            let logs =
                [(ownZone, stream.value.store)] + origins.map { ($0, stream.value.forward) }
            for (origin, buffer) in logs
            where buffer.isTerminal != true
                && !node.hasReaders(stream: stream.value.name, origin: origin)
            {
                problems.add(
                    main.file, stream.position,
                    "the sil_strict stream '\(stream.value.name)' of '\(origin)' has no reader, so "
                        + "its facts would count as confirmed at once; say 'terminal: true', or "
                        + "grant it to a peer or consumer")
            }
        }
    }

    private func checkPeer(_ peer: PeerConfiguration, _ entry: CursorsFile.Entry) {
        if peer.endpoint == nil {
            problems.add(
                cursors.file, entry.peer,
                "the peer '\(peer.id)' has no endpoint in peers.yaml to pull from; add one")
        }
        if !peer.authorized {
            problems.add(
                cursors.file, entry.peer,
                "the peer '\(peer.id)' has authorized: false in peers.yaml, so nothing can be "
                    + "pulled from it; authorise it or remove the cursor")
        }
    }
}

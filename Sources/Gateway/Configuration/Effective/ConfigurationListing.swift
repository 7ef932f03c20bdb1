internal import Buffers
internal import RPC
internal import WriteAheadLog

/// A configuration as lines `key: value`, defaults included: what is in force, and what two of them differ
/// in. The words are those of the files.
package struct ConfigurationListing: Sendable {
    package struct Line: Sendable, Equatable {
        package var key: String
        package var value: String

        package init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }

    package private(set) var lines: [Line] = []

    package init(_ configuration: NodeConfiguration) {
        addNode(configuration)
        for stream in configuration.streams { add(stream) }
        for client in configuration.clients { add(client) }
        for peer in configuration.peers { add(peer) }
        for cursor in configuration.cursors { add(cursor) }
    }

    private mutating func add(_ key: String, _ value: String) {
        lines.append(Line(key: key, value: value))
    }

    private mutating func add(_ key: String, _ values: [String]) {
        add(key, "[\(values.joined(separator: ", "))]")
    }

    private mutating func add(_ key: String, _ revocation: RevocationConfiguration) {
        if revocation.words.isEmpty {
            add(key, "beside the CA files")
        } else {
            add(key, revocation.words)
        }
    }

    private mutating func addNode(_ configuration: NodeConfiguration) {
        add("zone", configuration.zone)
        add("identity", configuration.identity)
        add("data", configuration.dataDirectory)
        add("admin.socket", configuration.adminSocketPath)
        add(
            "listeners",
            configuration.listeners.map { "\($0.address) (\($0.accept.rawValue))" })
        add("zones", configuration.otherZones)
        add("tls.ca", configuration.tls.authorityFiles)
        add("tls.certificate", configuration.tls.certificateFile)
        add("tls.key", configuration.tls.keyFile)
        add("tls.client_ca", configuration.tls.clientAuthorityFiles)
        add("tls.crl", configuration.tls.revocation)
        add("tls.client_crl", configuration.tls.clientRevocation)
        add("tls.identity_from", configuration.tls.identityFrom.map(\.rawValue).sorted())
        add("buffers.index_budget", Quantity.bytesText(configuration.indexBudgetBytes))
        add("buffers.quarantine", Quantity.bytesText(configuration.quarantineBytes))
        if let artifacts = configuration.artifacts {
            add("artifacts.capacity", Quantity.bytesText(Int(artifacts.capacityBytes)))
            for (key, milliseconds) in [
                ("artifact_retention", artifacts.retentionMilliseconds),
                ("upload_grace", artifacts.uploadGraceMilliseconds),
                ("sweep_interval", artifacts.sweepIntervalMilliseconds),
            ] {
                add("artifacts.\(key)", Quantity.millisecondsText(Int(milliseconds)))
            }
        }
        add("log.level", configuration.logLevel.rawValue)
        let limits = configuration.limits
        for (key, path) in RPCServerLimits.counts {
            add("limits.\(key)", String(limits[keyPath: path]))
        }
        for (key, path) in RPCServerLimits.times {
            add("limits.\(key)", Quantity.millisecondsText(limits[keyPath: path]))
        }
        for (key, path, _) in RPCServerLimits.sizes {
            add("limits.\(key)", Quantity.bytesText(limits[keyPath: path]))
        }
        for (key, path) in PeerConnectionLimits.times {
            add("limits.\(key)", Quantity.millisecondsText(configuration.peerLimits[keyPath: path]))
        }
    }

    private mutating func add(_ stream: StreamConfiguration) {
        let key = "streams.\(stream.name)"
        add("\(key).profile", stream.profile.rawValue)
        add("\(key).object_limit", Quantity.bytesText(stream.objectBytesMaximum))
        add("\(key).idempotency", stream.idempotency.rawValue)
        add("\(key).artifact_references", stream.artifactReferences.rawValue)
        add(key, stream.store)
        add("\(key).forward", stream.forward)
    }

    private mutating func add(_ key: String, _ buffer: BufferConfiguration) {
        func duration(_ milliseconds: Int64) -> String {
            Quantity.millisecondsText(Int(milliseconds))
        }
        /// Exactly, so that no two shares look the same.
        func share(_ share: Double) -> String {
            let text = Quantity.percentText(share)
            return Quantity.share(text) == share ? text : String(share)
        }
        let retention = buffer.retention
        add("\(key).capacity", Quantity.bytesText(buffer.capacityBytes))
        add("\(key).segment", buffer.segmentBytes.map(Quantity.bytesText) ?? "automatic")
        add("\(key).compression", buffer.compression.rawValue)
        add("\(key).writing", buffer.writing.rawValue)
        add("\(key).dedupe_horizon", duration(retention.dedupeHorizonMilliseconds))
        add(
            "\(key).free_space_reserve", Quantity.bytesText(Int(retention.freeSpaceReserveBytes)))
        add("\(key).high_watermark", share(retention.highWatermark))
        add("\(key).low_watermark", share(retention.lowWatermark))
        add("\(key).min_retention", duration(retention.minimumRetentionMilliseconds))
        add("\(key).retention", retention.retentionMilliseconds.map(duration) ?? "while there is room")
        add(
            "\(key).terminal",
            buffer.isTerminal.map { $0 ? "true" : "false" } ?? "where nobody is granted it")
        if case .standard(let policy) = buffer.policy {
            add("\(key).when_full", policy.whenFull.rawValue)
            add(
                "\(key).unconfirmed_ttl",
                policy.unconfirmedLifetimeMilliseconds.map(duration) ?? "never")
        }
    }

    private mutating func add(_ client: ClientConfiguration) {
        let key = "clients.\(client.identity)"
        add("\(key).roles", client.roles.map(\.rawValue).sorted())
        add("\(key).streams", client.streams)
        add("\(key).origins", client.origins)
        add("\(key).artifacts", client.artifacts)
        add("\(key).ca", client.authorityFiles)
        add("\(key).crl", client.revocation)
    }

    private mutating func add(_ peer: PeerConfiguration) {
        let key = "peers.\(peer.id)"
        add("\(key).identity", peer.identity)
        add("\(key).endpoint", peer.endpoint?.description ?? "none")
        add("\(key).authorized", peer.authorized ? "true" : "false")
        add("\(key).streams", peer.streams)
        add("\(key).origins", peer.origins)
        add("\(key).artifacts", peer.artifacts)
        add("\(key).ca", peer.authorityFiles)
        add("\(key).crl", peer.revocation)
        add("\(key).start", peer.start.rawValue)
        add("\(key).compression", peer.compression.rawValue)
        add("\(key).notify", peer.isNotified ? "true" : "false")
        switch peer.hold {
        case .required: add("\(key).required", "true")
        case .upTo(let bytes, let milliseconds):
            add("\(key).required", "false")
            add(
                "\(key).max_lag",
                [
                    milliseconds.map { Quantity.millisecondsText(Int($0)) },
                    bytes.map { Quantity.bytesText(Int($0)) },
                ].compactMap(\.self))
        }
    }

    private mutating func add(_ cursor: CursorConfiguration) {
        let key = "cursors.\(cursor.stream)/\(cursor.origin)"
        add("\(key).peer", cursor.peer)
        add("\(key).init_mode", cursor.initMode.description)
        if case .explicitTimestamp(let milliseconds) = cursor.initMode {
            add("\(key).init_timestamp", Timestamp.text(milliseconds))
        }
        if let justification = cursor.justification { add("\(key).justification", justification) }
    }
}

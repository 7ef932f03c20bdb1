internal import Gateway
internal import RPC

/// How artifacts look on a terminal and as JSON.
enum ArtifactListing {
    static func show(
        _ artifacts: [Bsfg_Admin_V1_ArtifactStatus], _ usage: Bsfg_Admin_V1_ArtifactUsage?,
        _ format: OutputFormat, isList: Bool
    ) {
        switch format {
        case .json:
            let all = artifacts.map(json)
            guard isList else { return StandardOutput.json(all[0]) }
            var members: [(String, JSONOutput)] = [("artifacts", .list(all))]
            if let usage { members.append(("usage", json(usage))) }
            StandardOutput.json(.object(members))
        case .table:
            StandardOutput.line(table(artifacts))
            if let usage { StandardOutput.line(text(usage)) }
        }
    }

    static func text(_ usage: Bsfg_Admin_V1_ArtifactUsage) -> String {
        "\(usage.names) stored, \(usage.pending) pending, \(usage.bytes) of "
            + "\(usage.capacityBytes) bytes"
    }

    private static func table(_ artifacts: [Bsfg_Admin_V1_ArtifactStatus]) -> String {
        var table = Table("ARTIFACT", "STATE", "BYTES#", "DIGEST", "MEDIA TYPE", "STORED", "FACTS")
        for artifact in artifacts {
            table.row([
                "\(artifact.zone)/\(artifact.bucket)/\(artifact.key)",
                artifact.failures == 0
                    ? artifact.state : "\(artifact.state), \(artifact.failures) attempts",
                String(artifact.size), artifact.digest, artifact.mediaType,
                artifact.storedAtUnixMs == 0
                    ? "-" : UTCText.text(artifact.storedAtUnixMs / 1_000),
                artifact.uses.map { "\($0.stream) of \($0.origin) up to \($0.offset)" }
                    .joined(separator: ", "),
            ])
        }
        return table.text
    }

    private static func json(_ artifact: Bsfg_Admin_V1_ArtifactStatus) -> JSONOutput {
        .object([
            ("zone", .text(artifact.zone)),
            ("bucket", .text(artifact.bucket)),
            ("key", .text(artifact.key)),
            ("state", .text(artifact.state)),
            ("digest", .text(artifact.digest)),
            ("size", .unsigned(artifact.size)),
            ("media_type", .text(artifact.mediaType)),
            ("file_name", .text(artifact.fileName)),
            ("stored_at_unix_ms", .integer(artifact.storedAtUnixMs)),
            ("failures", .unsigned(UInt64(artifact.failures))),
            (
                "facts",
                .list(
                    artifact.uses.map { use in
                        .object([
                            ("stream", .text(use.stream)), ("origin", .text(use.origin)),
                            ("offset", .unsigned(use.offset)),
                        ])
                    })
            ),
        ])
    }

    static func json(_ usage: Bsfg_Admin_V1_ArtifactUsage) -> JSONOutput {
        .object([
            ("names", .unsigned(usage.names)),
            ("pending", .unsigned(usage.pending)),
            ("blobs", .unsigned(usage.blobs)),
            ("bytes", .unsigned(usage.bytes)),
            ("capacity_bytes", .unsigned(usage.capacityBytes)),
            ("reserved_bytes", .unsigned(usage.reservedBytes)),
        ])
    }
}

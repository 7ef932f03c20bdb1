internal import ArgumentParser
internal import Facts
internal import Gateway
internal import RPC

struct ArtifactCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "artifact",
        abstract: "Puts and fetches artifacts, and tells what a node has of them.",
        discussion: """
            An artifact is named ZONE/BUCKET/KEY, artifact://ZONE/BUCKET/KEY, or as runbooks write it \
            s3://ZONE-bsfg-artifacts/BUCKET/KEY. A name is given once: other bytes need another key.
            """,
        subcommands: [Put.self, Fetch.self, Info.self, List.self, Pending.self])

    struct Put: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "put",
            abstract: "Puts a file and prints the reference that goes into a fact.")

        @Argument(help: ArgumentHelp("The file.", valueName: "file"))
        var file: String

        @Argument(help: ArgumentHelp("Its name, in the node's own zone.", valueName: "name"))
        var name: String

        @Option(help: "What it is; default application/octet-stream.")
        var mediaType = "application/octet-stream"

        @OptionGroup var node: NodeConnection

        func run() async throws {
            let target = try ArtifactCommand.target(name)
            let source = try ArtifactFile(reading: file)
            let digest = try source.digest()
            let client = ArtifactClient(try node.client(.any))
            let answer: [UInt8]
            do throws(RPCClientError) {
                answer = try await client.put(target, source.upload(), digest: digest, mediaType: mediaType)
            } catch {
                throw ArtifactCommand.failure(error, target)
            }
            StandardOutput.line(String(decoding: answer.split(separator: 0x0A)[0], as: UTF8.self))
        }
    }

    struct Fetch: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "fetch",
            abstract: "Fetches an artifact into a file and checks its digest.",
            discussion: """
                What an interrupted fetch left in FILE.part is gone on with. FILE appears when its \
                digest was checked; one that is there is kept.
                """)

        @Argument(help: ArgumentHelp("The artifact's name or URI.", valueName: "name"))
        var name: String?

        @Option(help: "The same as NAME, as runbooks have it.")
        var uri: String?

        @Option(help: ArgumentHelp("Where to; default the last part of its key.", valueName: "file"))
        var out: String?

        @Flag(help: "Replace a file that is there.")
        var force = false

        @OptionGroup var node: NodeConnection

        func run() async throws {
            guard let text = name ?? uri, name == nil || uri == nil else {
                throw CommandFailure(.usage, "say which artifact: NAME or --uri URI")
            }
            let target = try ArtifactCommand.target(text)
            let path = out ?? String(target.key.split(separator: "/").last ?? "artifact")
            guard force || !CertificateFiles.exists(path) else {
                throw CommandFailure(
                    .failure, "\(path) exists and is kept; say --force to replace it, or --out FILE for another")
            }
            let client = ArtifactClient(try node.client(.any))
            let part = try ArtifactFile(continuing: path + ".part")
            let position = part.size
            let stated: Digest?
            do throws(RPCClientError) {
                stated = try await client.fetch(target, from: position) {
                    (isContinued: Bool, bytes: [UInt8]) async throws(RPCClientError) in
                    try await part.take(bytes, continues: isContinued)
                }
            } catch {
                part.removeIfEmpty()
                throw ArtifactCommand.failure(error, target)
            }
            let digest = try part.digest()
            guard digest == (target.digest ?? stated) else {
                part.remove()
                throw CommandFailure(
                    .failure,
                    "what came has the digest sha256:\(digest) and is not what was asked for; "
                        + "nothing was kept")
            }
            try part.finish(as: path)
            StandardOutput.line("\(path) sha256:\(digest)")
        }
    }

    struct Info: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "info",
            abstract: "What this machine's node knows of an artifact, and which facts refer to it.")

        @Argument(help: ArgumentHelp("The artifact's name or URI.", valueName: "name"))
        var name: String

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let target = try ArtifactCommand.target(name)
            var request = Bsfg_Admin_V1_ShowArtifactRequest()
            request.zone = target.zone
            request.bucket = target.bucket
            request.key = target.key
            let client = try node.adminClient()
            let question = request
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.showArtifact(question)
            }
            ArtifactListing.show([answer.artifact], nil, output.format, isList: false)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "The artifacts of this machine's node.")

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ArtifactCommand.list(node, output, pending: false)
        }
    }

    struct Pending: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "pending",
            abstract: "Artifacts that received facts refer to and whose bytes are not here yet.")

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ArtifactCommand.list(node, output, pending: true)
        }
    }

    static func list(_ node: NodeConnection, _ output: OutputOptions, pending: Bool) async throws {
        let client = try node.adminClient()
        var all: [Bsfg_Admin_V1_ArtifactStatus] = []
        var request = Bsfg_Admin_V1_ListArtifactsRequest()
        request.pending = pending
        var usage: Bsfg_Admin_V1_ArtifactUsage?
        repeat {
            let question = request
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.listArtifacts(question)
            }
            all += answer.artifacts
            usage = answer.usage
            request.after = answer.next
        } while !request.after.isEmpty
        ArtifactListing.show(all, usage, output.format, isList: true)
    }

    /// A node without an artifact store has not even the path.
    private static func failure(_ error: RPCClientError, _ target: ArtifactClient.Target) -> CommandFailure {
        guard let failure = error.failure, failure.code == ConnectCode.unimplemented.rawValue else {
            return CommandFailure(error)
        }
        return CommandFailure(
            .refused,
            "the node keeps no artifacts, so it has no \(target.uri); add artifacts: {} to its bsfg.yaml, or the "
                + "bucket to an entry, and restart it")
    }

    static func target(_ text: String) throws -> ArtifactClient.Target {
        do throws(ServiceError) {
            return try ArtifactClient.Target(text)
        } catch {
            throw CommandFailure(.usage, error.message)
        }
    }
}

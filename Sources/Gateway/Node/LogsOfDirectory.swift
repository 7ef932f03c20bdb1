internal import Facts
internal import Glibc
package import Logging
internal import RPC
internal import WriteAheadLog

/// What a data directory holds from earlier starts, and whether a configuration fits it: a log belongs to one
/// zone and has one profile for life.
package struct LogsOfDirectory: Sendable {
    /// The file beside the logs that says whose they are: what a log holds does not say it, and facts of
    /// another zone would go on in it unnoticed.
    package static let zoneFileName = "zone"
    private static let bytesMaximum = 1 << 10

    private let directory: String

    package init(_ dataDirectory: String) { directory = dataDirectory }

    private var zonePath: String { "\(directory)/\(LogsOfDirectory.zoneFileName)" }

    /// Why a node cannot begin with this configuration and these logs, in one sentence; nil when it can. Blocks.
    package func refusal(_ configuration: NodeConfiguration) -> String? {
        do throws(NodeError) {
            if let refusal = zoneRefusal(try zone(), configuration) { return refusal }
        } catch {
            return error.sentence
        }
        return profileRefusal(configuration)
    }

    /// Says beside the logs that they are this zone's, where nothing says whose they are. Durable when it
    /// returns. Blocks.
    /// - Throws: when they are another zone's.
    func claim(_ configuration: NodeConfiguration) throws(NodeError) {
        let marked = try zone()
        if let refusal = zoneRefusal(marked, configuration) { throw NodeError(refusal) }
        guard marked == nil else { return }
        do throws(CertificateError) {
            try CertificateFiles.write(
                Array("\(configuration.zone)\n".utf8), to: zonePath, mode: 0o640, force: true)
        } catch {
            throw NodeError("whose logs these are cannot be kept: \(error.sentence)")
        }
    }

    /// Directories of logs whose stream the configuration does not have. Blocks.
    package func unnamed(_ configuration: NodeConfiguration) -> [String] {
        ["store", "forward"].flatMap { role in
            let names = (try? LinuxDisk().list("\(directory)/\(role)")) ?? []
            return names.sorted().filter { ZoneName.isValid($0) && configuration.stream($0) == nil }
                .map { "\(directory)/\(role)/\($0)" }
        }
    }

    /// What to think of such a directory.
    package static func warning(unnamed directory: String) -> String {
        "\(directory) holds the log of a stream that bsfg.yaml does not have, so nobody gets its facts; give the "
            + "stream its name back, or move the directory away"
    }

    func warn(_ configuration: NodeConfiguration, _ logger: Logger) {
        for directory in unnamed(configuration) {
            logger.warning(
                "\(LogsOfDirectory.warning(unnamed: directory))",
                metadata: ["event": "log_without_stream", "directory": "\(directory)"])
        }
    }

    /// Nil where no file says it.
    private func zone() throws(NodeError) -> String? {
        var found = stat()
        guard lstat(zonePath, &found) == 0 || errno != ENOENT else { return nil }
        let bytes: [UInt8]
        do throws(CertificateError) {
            bytes = try SmallFile.read(zonePath, bytesMaximum: LogsOfDirectory.bytesMaximum)
        } catch {
            throw NodeError("whose logs are in \(directory) cannot be read: \(error.sentence)")
        }
        let text = String(decoding: bytes.last == 0x0A ? bytes.dropLast() : bytes[...], as: UTF8.self)
        guard ZoneName.isValid(text) else {
            throw NodeError(
                "\(zonePath) is to name the zone whose logs these are, and holds no zone name; write the zone "
                    + "of these logs into it")
        }
        return text
    }

    private func zoneRefusal(_ marked: String?, _ configuration: NodeConfiguration) -> String? {
        guard let marked, !marked.utf8.elementsEqual(configuration.zone.utf8) else { return nil }
        return "the logs in \(directory) are zone \(marked)'s, and bsfg.yaml says zone: \(configuration.zone); put "
            + "zone: \(marked) back, or use another data directory"
    }

    private func profileRefusal(_ configuration: NodeConfiguration) -> String? {
        for stream in configuration.streams {
            let forward = "\(directory)/forward/\(stream.name)"
            // Of the logs that the node opens, and of no other that somebody keeps there.
            let pulled = configuration.cursors.filter { $0.stream.utf8.elementsEqual(stream.name.utf8) }.map(\.origin)
            let origins = Set(pulled).sorted()
            for log in ["\(directory)/store/\(stream.name)"] + origins.map({ "\(forward)/\($0)" }) {
                // A log that cannot be looked into says so when it is opened.
                guard let stored = try? LogInspector.storedProfile(directory: log),
                    !stored.name.utf8.elementsEqual(stream.profile.rawValue.utf8)
                else { continue }
                return LogsOfDirectory.profileRefusal(
                    stream, stored: stored.name, asked: stream.profile.rawValue, log)
            }
        }
        return nil
    }

    static func profileRefusal(
        _ stream: StreamConfiguration, stored: String, asked: String, _ log: String
    ) -> String {
        "the log of stream \(stream.name) in \(log) was made with profile \(stored), not \(asked), and a profile is "
            + "for life; put profile: \(stored) back, or use a new stream name"
    }
}

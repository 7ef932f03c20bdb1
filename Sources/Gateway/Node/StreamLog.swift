package import Buffers
internal import Facts
internal import Glibc
internal import Synchronization
package import WriteAheadLog

/// One log of the node: a stream and the zone whose facts it holds.
package final class StreamLog: Sendable {
    /// A stream and an origin, compared as bytes.
    package struct Name: Hashable, Sendable {
        package let stream: [UInt8]
        package let origin: [UInt8]

        package init(stream: String, origin: String) {
            self.stream = Array(stream.utf8)
            self.origin = Array(origin.utf8)
        }
    }

    package let stream: StreamConfiguration
    package let origin: String
    package let log: Log
    /// Facts of local producers; nil in a forward log.
    package let store: LogStoreBuffer?
    /// Another zone's facts; nil in a store log.
    package let forward: LogForwardBuffer?
    package let cursors: LogCursorTracker

    package var name: Name { Name(stream: stream.name, origin: origin) }
    package var buffer: any ReadableBuffer { store ?? forward! }
    package var role: String { store == nil ? "forward" : "store" }

    init(stream: StreamConfiguration, origin: String, log: Log, isStore: Bool) {
        self.stream = stream
        self.origin = origin
        self.log = log
        let compression = (isStore ? stream.store : stream.forward).compression.block
        store = isStore ? LogStoreBuffer(log, compression: compression) : nil
        forward = isStore ? nil : LogForwardBuffer(log, compression: compression)
        cursors = LogCursorTracker(log)
    }
}

/// All logs of a node, by stream and origin, and who reads which.
package final class StreamLogs: Sendable {
    /// Locked while a node runs; where it stands, the logs beside it are a node's.
    package static let markerName = "node"

    private struct Contents {
        var all: [StreamLog] = []
        var byName: [StreamLog.Name: StreamLog] = [:]
        /// The store logs by their streams, whose names are ASCII.
        var stores: [String: LogStoreBuffer] = [:]
        var zoneProblem: NodeError?
    }

    package var all: [StreamLog] { contents.withLock { $0.all } }
    private let contents = Mutex(Contents())
    private let lock: any DiskLock
    private let indexBudget: KeyIndexBudget
    /// Held while a consumer is made: its name is looked for in every log first.
    private let creation = Monitor()

    /// Why nothing says beside the logs whose they are; nil where it does.
    var zoneProblem: NodeError? { contents.withLock { $0.zoneProblem } }

    /// Opens (and where absent makes) every log that the configuration asks for. Blocks.
    package init(_ configuration: NodeConfiguration) throws(NodeError) {
        lock = try StreamLogs.lock(configuration.dataDirectory)
        indexBudget = KeyIndexBudget(maximumBytes: configuration.indexBudgetBytes)
        let present = LogsOfDirectory(configuration.dataDirectory)
        if let refusal = present.refusal(configuration) { throw NodeError(refusal) }
        _ = try openMissing(configuration)
        // Behind the logs: a start that came to none of them says nothing of whose they are. And without room for
        // it the next start says so: readers have to be able to confirm on a full disk.
        do throws(NodeError) {
            try present.claim(configuration)
        } catch {
            contents.withLock { $0.zoneProblem = error }
        }
    }

    /// Opens (and where absent makes) the logs that a configuration asks for and that are not open. None is
    /// closed: what is not pulled any more still has readers. Blocks.
    /// - Returns: the logs that were opened.
    package func openMissing(_ configuration: NodeConfiguration) throws(NodeError) -> [StreamLog] {
        var wanted: [(stream: StreamConfiguration, origin: String, isStore: Bool)] = []
        for stream in configuration.streams { wanted.append((stream, configuration.zone, true)) }
        for cursor in configuration.cursors {
            guard let stream = configuration.stream(cursor.stream) else {
                preconditionFailure("a cursor's stream was checked with the configuration")
            }
            wanted.append((stream, cursor.origin, false))
        }
        var opened: [StreamLog] = []
        for (stream, origin, isStore) in wanted
        where log(stream: stream.name, origin: origin) == nil {
            let log = try open(stream, origin, isStore: isStore, configuration)
            contents.withLock { contents in
                contents.all.append(log)
                contents.byName[log.name] = log
                if let store = log.store { contents.stores[stream.name] = store }
            }
            opened.append(log)
        }
        return opened
    }

    private func open(
        _ stream: StreamConfiguration, _ origin: String, isStore: Bool,
        _ configuration: NodeConfiguration
    ) throws(NodeError) -> StreamLog {
        let options = options(stream, origin, isStore: isStore, configuration)
        let directory =
            isStore ? "store/\(stream.name)" : "forward/\(stream.name)/\(origin)"
        return try StreamLogs.open(
            stream, origin: origin, isStore: isStore,
            "\(configuration.dataDirectory)/\(directory)", options)
    }

    private func options(
        _ stream: StreamConfiguration, _ origin: String, isStore: Bool,
        _ configuration: NodeConfiguration
    ) -> LogOptions {
        var options = (isStore ? stream.store : stream.forward).options(
            hasReaders: configuration.hasReaders(stream: stream.name, origin: origin),
            indexBudget: indexBudget)
        options.retention.awaitedReaders = configuration.awaitedReaders(
            stream: stream.name, origin: origin)
        return options
    }

    /// Puts what each log keeps and who reads it in force as a configuration has it, in all logs or none.
    /// Blocks.
    package func changeRetention(_ configuration: NodeConfiguration) throws(NodeError) {
        var changes: [(log: StreamLog, options: LogOptions)] = []
        for log in all {
            guard let stream = configuration.stream(log.stream.name) else { continue }
            changes.append(
                (log, options(stream, log.origin, isStore: log.store != nil, configuration)))
        }
        do throws(LogError) {
            for (_, options) in changes {
                try options.retention.validate()
                try options.policy.validate()
            }
            for (log, options) in changes {
                try log.log.changeRetention(options.retention, policy: options.policy)
            }
        } catch {
            throw NodeError(error.sentence)
        }
    }

    private static func open(
        _ stream: StreamConfiguration, origin: String, isStore: Bool, _ directory: String,
        _ options: LogOptions
    ) throws(NodeError) -> StreamLog {
        do throws(LogError) {
            let log = try Log.open(directory: directory, options: options)
            return StreamLog(stream: stream, origin: origin, log: log, isStore: isStore)
        } catch {
            if case .profileMismatch(let stored, let asked) = error {
                throw NodeError(
                    LogsOfDirectory.profileRefusal(stream, stored: stored.name, asked: asked.name, directory))
            }
            if case .disk(let cause) = error { throw StreamLogs.failure(cause, directory) }
            throw NodeError(error.sentence)
        }
    }

    package func log(stream: String, origin: String) -> StreamLog? {
        let name = StreamLog.Name(stream: stream, origin: origin)
        return contents.withLock { $0.byName[name] }
    }

    /// Where local producers' facts of a stream go.
    package func store(stream: String) -> LogStoreBuffer? { contents.withLock { $0.stores[stream] } }

    /// The log in which an owner's consumer of this name has its cursor: a name is bound to one.
    package func log(ofConsumer name: String, owner: String) -> StreamLog? {
        all.first { $0.cursors.cursor(owner: owner, name: name) != nil }
    }

    /// Makes a consumer whose name is free in every log. Blocks.
    package func createConsumer(
        _ cursor: TrackedCursor, in log: StreamLog, notBelowFirst: Bool = false
    ) throws(BufferError) {
        creation.lock()
        defer { creation.unlock() }
        if let other = self.log(ofConsumer: cursor.name, owner: cursor.owner) {
            throw BufferError(
                .cursorExists,
                "\(cursor.owner) has a consumer \(cursor.name) on \(other.stream.name) of "
                    + "\(other.origin) already; choose another name")
        }
        try log.cursors.create(cursor, notBelowFirst: notBelowFirst)
    }

    private static func lock(_ directory: String) throws(NodeError) -> any DiskLock {
        let disk = LinuxDisk()
        let lock: (any DiskLock)?
        do throws(DiskError) {
            try disk.createDirectory(directory)
            lock = try disk.lock("\(directory)/\(markerName)", exclusive: true)
        } catch {
            throw failure(error, directory)
        }
        guard let lock else {
            throw NodeError(
                "a node runs with the data in \(directory) already; see bsfg status, or stop it first")
        }
        return lock
    }

    /// What another user made, such as root, is to be given to the node's.
    private static func failure(_ error: DiskError, _ directory: String) -> NodeError {
        guard error.code == EACCES || error.code == EPERM else { return NodeError(error.sentence) }
        return NodeError(
            "\(error.sentence); give it to the user that the node runs as: "
                + "chown -R \(UserName.own) \(shellQuoted(directory))")
    }

    package func close() {
        for log in all { log.log.close() }
        lock.release()
    }
}

/// Why a node could not start or go on, in one sentence.
package struct NodeError: Error, Sendable, CustomStringConvertible {
    package let sentence: String
    package init(_ sentence: String) { self.sentence = sentence }
    package var description: String { sentence }
}

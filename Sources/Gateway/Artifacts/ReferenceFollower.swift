internal import Buffers
internal import Facts
internal import Logging
internal import WriteAheadLog

/// Reads every log behind its head and records what its facts refer to: the store keeps it, and what
/// other zones' facts refer to is fetched. How far it has come is durable with what it found.
///
/// A thread of its own that looks now and then: appends and pulls know nothing of it.
final class ReferenceFollower: @unchecked Sendable {
    private static let lookEveryNanoseconds: Int64 = 200_000_000
    private static let pageRecords = 8_192
    private static let pageBytes = 1 << 20
    /// A stretch without references is recorded after so many offsets: they are read again after a
    /// crash.
    private static let unrecordedOffsets: UInt64 = 100_000

    private let store: any ArtifactStore
    private let logger: Logger
    private let monitor = Monitor()
    private let wake = Monitor.Condition()
    // Guarded by `monitor`.
    private var logs: [StreamLog] = []
    private var isStopping = false
    private var positions: [[UInt8]: UInt64] = [:]
    /// Logs of other zones whose next references the store has no room for.
    private var waiting: Set<[UInt8]> = []
    private var thread: EngineThread?
    /// Told once until it works again.
    private var isFailing = false

    init(_ logs: [StreamLog], _ store: any ArtifactStore, _ logger: Logger) {
        self.store = store
        self.logger = logger
        follow(logs)
    }

    /// Reads logs that were opened, too.
    func follow(_ opened: [StreamLog]) {
        for log in opened {
            let followed = store.followedOffset(log: log.buffer.identifier)
            // A log that is shorter than what was read of it was put back: it is read again.
            let position = followed <= log.buffer.headOffset ? followed : log.buffer.firstOffset
            monitor.withLock {
                positions[log.buffer.identifier] = position
                logs.append(log)
            }
        }
    }

    func start() {
        thread = EngineThread(name: "bsfg-references") { [self] in run() }
    }

    func stop() {
        monitor.withLock {
            isStopping = true
            wake.broadcast()
        }
        thread?.join()
        thread = nil
    }

    /// Whether the store has no room for what the log's next facts refer to. It gets some by sweeping, which
    /// so must not wait for this log: what is another zone's is fetched again when it was swept too early.
    func isWaitingForRoom(_ log: StreamLog) -> Bool {
        monitor.withLock { waiting.contains(log.buffer.identifier) }
    }

    /// Everything below is known to the store.
    func position(_ log: StreamLog) -> UInt64 {
        monitor.withLock { positions[log.buffer.identifier] ?? 0 }
    }

    private func run() {
        while true {
            var isBehind = false
            for log in monitor.withLock({ logs }) { isBehind = step(log) || isBehind }
            monitor.lock()
            if !isStopping, !isBehind {
                _ = monitor.wait(
                    wake,
                    untilNanoseconds: LogEnvironment.linux.monotonicNanoseconds()
                        + ReferenceFollower.lookEveryNanoseconds)
            }
            let isOver = isStopping
            monitor.unlock()
            if isOver { return }
        }
    }

    /// One page. True when there is more.
    private func step(_ log: StreamLog) -> Bool {
        let identifier = log.buffer.identifier
        let from = position(log)
        guard from < log.buffer.headOffset else { return false }
        var uses: [ArtifactUse] = []
        let next: UInt64
        do throws(BufferError) {
            next = try log.buffer.read(
                from: from, maximumCount: ReferenceFollower.pageRecords,
                maximumBytes: ReferenceFollower.pageBytes
            ) { record in
                uses += ReferenceFollower.uses(record)
                return true
            }
        } catch {
            guard case .gap(let gap) = error.kind else {
                _ = monitor.withLock { waiting.remove(identifier) }
                return tell(error.sentence, log)
            }
            move(to: gap.offsets.upperBound, in: identifier)
            return true
        }
        if !uses.isEmpty
            || isFarAhead(next, of: store.followedOffset(log: identifier))
        {
            do throws(ArtifactError) {
                let leftOut = try store.record(
                    uses, log: identifier, upTo: next, isReceived: log.forward != nil)
                if leftOut > 0 { tellLeftOut(leftOut, log) }
            } catch {
                if error.kind == .full, log.forward != nil {
                    _ = monitor.withLock { waiting.insert(identifier) }
                }
                return tell(error.sentence, log)
            }
        }
        isFailing = false
        move(to: next, in: identifier)
        return next < log.buffer.headOffset
    }

    private func move(to offset: UInt64, in identifier: [UInt8]) {
        monitor.withLock {
            positions[identifier] = offset
            waiting.remove(identifier)
        }
    }

    private func isFarAhead(_ next: UInt64, of recorded: UInt64) -> Bool {
        next < recorded || next - recorded >= ReferenceFollower.unrecordedOffsets
    }

    private static func uses(_ record: BufferRecord) -> [ArtifactUse] {
        MessageArtifacts.read(record.payload).compactMap { artifact in
            // What was taken in before it was judged here may be anything.
            guard artifact.isSound,
                let name = ArtifactName(
                    zone: artifact.zone, bucket: artifact.bucket, key: artifact.key),
                let digest = Digest(hexadecimal: String(artifact.digest.dropFirst("sha256:".count)))
            else { return nil }
            return ArtifactUse(
                name: name,
                content: ArtifactContent(
                    digest: digest, size: artifact.size, mediaType: artifact.mediaType,
                    fileName: artifact.fileName), offset: record.offset)
        }
    }

    private func tellLeftOut(_ count: Int, _ log: StreamLog) {
        logger.error(
            "no room for names that facts refer to and nobody has put: put later, these artifacts count as unused",
            metadata: ["stream": "\(log.stream.name)", "origin": "\(log.origin)", "names": "\(count)"])
    }

    /// It is tried again with the next look.
    private func tell(_ sentence: String, _ log: StreamLog) -> Bool {
        if !isFailing {
            logger.error(
                "artifact references not recorded: \(sentence)",
                metadata: ["stream": "\(log.stream.name)", "origin": "\(log.origin)"])
        }
        isFailing = true
        return false
    }
}

package import Facts
internal import Synchronization
package import WriteAheadLog

/// The cursors of a log. The frontier is durable in the log; ranges beyond it live in memory.
package final class LogCursorTracker: CursorTracker {
    private struct Reader: Hashable {
        var owner: [UInt8]
        var name: [UInt8]
    }

    private let log: Log
    private let ahead = Mutex<[Reader: ContiguousFrontier]>([:])

    package init(_ log: Log) { self.log = log }

    package func create(_ cursor: TrackedCursor, notBelowFirst: Bool) throws(BufferError) {
        do throws(LogError) {
            try log.createCursor(Cursor(cursor), notBelowFirst: notBelowFirst)
        } catch {
            throw BufferError(error)
        }
    }

    package func cursor(owner: String, name: String) -> TrackedCursor? {
        log.cursor(owner: owner, name: name).map { TrackedCursor($0) }
    }

    package func cursors() -> [TrackedCursor] { log.cursors().map { TrackedCursor($0) } }

    package func confirm(
        owner: String, name: String, _ range: ClosedRange<UInt64>,
        digest: (value: Digest, offset: UInt64)?
    ) throws(BufferError) -> TrackedCursor {
        guard let cursor = cursor(owner: owner, name: name) else {
            throw BufferError(
                .cursorNotFound, "there is no consumer \(name) of \(owner); create it first")
        }
        if let reason = cursor.detachReason {
            throw BufferError(
                .cursorDetached, "the consumer \(name) of \(owner) is detached (\(reason))")
        }
        let head = log.headOffset
        guard range.upperBound < head else {
            throw BufferError(
                .outOfRange(first: log.firstOffset, head: head),
                "offset \(range.upperBound) is not in the log, which ends before \(head)")
        }
        let reader = Reader(owner: Array(owner.utf8), name: Array(name.utf8))
        let next = ahead.withLock { ahead -> UInt64 in
            // The cursor is read again under the lock: what another call has made durable since
            // must not be missing from the frontier that is kept.
            let durable = log.cursor(owner: owner, name: name)?.nextOffset ?? cursor.nextOffset
            var frontier = ahead[reader] ?? ContiguousFrontier(nextOffset: durable)
            if durable > frontier.nextOffset { frontier.confirm(0...durable - 1) }
            frontier.confirm(range)
            ahead[reader] = frontier.ranges.isEmpty ? nil : frontier
            return frontier.nextOffset
        }
        do throws(LogError) {
            let stated: (value: Digest256, offset: UInt64)? = digest.map {
                (value: Digest256($0.value), offset: $0.offset)
            }
            var standing = try log.confirm(
                owner: owner, name: name, nextOffset: next, digest: stated)
            while let more = further(reader, than: standing.nextOffset) {
                standing = try log.confirm(
                    owner: owner, name: name, nextOffset: more, digest: stated)
            }
            return TrackedCursor(standing)
        } catch {
            throw BufferError(error)
        }
    }

    /// Where the frontier goes on to now that it is durable at `durable`: another call may have
    /// confirmed what begins there while this one was on its way, and found the hole still open.
    private func further(_ reader: Reader, than durable: UInt64) -> UInt64? {
        ahead.withLock { ahead -> UInt64? in
            guard var frontier = ahead[reader], durable > frontier.nextOffset else { return nil }
            frontier.confirm(0...durable - 1)
            ahead[reader] = frontier.ranges.isEmpty ? nil : frontier
            return frontier.nextOffset > durable ? frontier.nextOffset : nil
        }
    }

    package func delete(owner: String, name: String) throws(BufferError) {
        try change(owner, name) { () throws(LogError) in
            try log.deleteCursor(owner: owner, name: name)
        }
    }
}

extension LogCursorTracker {
    package func detach(owner: String, name: String, reason: String) throws(BufferError) {
        try change(owner, name) { () throws(LogError) in
            try log.detachCursor(owner: owner, name: name, reason: reason)
        }
    }

    package func attach(owner: String, name: String, nextOffset: UInt64) throws(BufferError) {
        try change(owner, name) { () throws(LogError) in
            try log.attachCursor(owner: owner, name: name, nextOffset: nextOffset)
        }
    }

    package func change(owner: String, name: String, hold: CursorHold) throws(BufferError) {
        do throws(LogError) {
            try log.changeCursor(
                owner: owner, name: name, required: hold == .required,
                maximumLagBytes: hold.lagBytes, maximumLagMilliseconds: hold.lagMilliseconds)
        } catch {
            throw BufferError(error)
        }
    }

    package func replace(_ cursor: TrackedCursor) throws(BufferError) {
        try change(cursor.owner, cursor.name) { () throws(LogError) in
            try log.replaceCursor(Cursor(cursor))
        }
    }

    /// A change after which nothing that was confirmed ahead of the frontier counts any more.
    private func change(
        _ owner: String, _ name: String, _ body: () throws(LogError) -> Void
    ) throws(BufferError) {
        let reader = Reader(owner: Array(owner.utf8), name: Array(name.utf8))
        defer { ahead.withLock { _ = $0.removeValue(forKey: reader) } }
        do throws(LogError) {
            try body()
        } catch {
            throw BufferError(error)
        }
    }
}

extension CursorHold {
    var lagBytes: UInt64? {
        if case .upTo(let bytes, _) = self { bytes } else { nil }
    }

    var lagMilliseconds: Int64? {
        if case .upTo(_, let milliseconds) = self { milliseconds } else { nil }
    }
}

extension Cursor {
    fileprivate init(_ cursor: TrackedCursor) {
        self.init(
            owner: cursor.owner, name: cursor.name, nextOffset: cursor.nextOffset,
            epoch: cursor.epoch, digest: cursor.digest.map { Digest256($0) },
            digestOffset: cursor.digestOffset,
            receiver: cursor.receiverUUID.map { LogIdentifier(bytes: $0) },
            receiverEpoch: cursor.receiverEpoch, required: cursor.hold == .required,
            maximumLagBytes: cursor.hold.lagBytes,
            maximumLagMilliseconds: cursor.hold.lagMilliseconds,
            initialisation: cursor.initMode, createdMilliseconds: cursor.createdMilliseconds)
    }
}

extension TrackedCursor {
    init(_ cursor: Cursor) {
        self.init(
            owner: cursor.owner, name: cursor.name, nextOffset: cursor.nextOffset,
            epoch: cursor.epoch, digest: cursor.digest.map { Digest($0) },
            digestOffset: cursor.digestOffset, receiverUUID: cursor.receiver?.bytes,
            receiverEpoch: cursor.receiverEpoch, initMode: cursor.initialisation,
            createdMilliseconds: cursor.createdMilliseconds,
            hold: cursor.required
                ? .required
                : .upTo(
                    lagBytes: cursor.maximumLagBytes, lagMilliseconds: cursor.maximumLagMilliseconds),
            detachReason: cursor.detachReason)
    }
}

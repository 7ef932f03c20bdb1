internal import Buffers
internal import Facts
internal import FoundationEssentials

/// Where a peer's first fetch begins: an initialisation mode, resolved by the source's own append times and
/// clock (gateway decision 9).
struct CursorStart: Sendable {
    /// The mode of a cursor that was made again at its receiver's position.
    static let atPosition = "position"
    /// How often truncation may overtake a resolution.
    static let attemptsMaximum = 8

    var offset: UInt64
    /// By how much less is there than was asked for, in milliseconds.
    var shortfallMilliseconds: Int64 = 0

    static func mode(_ text: String, timestampMilliseconds: Int64) throws(ServiceError)
        -> CursorInitMode
    {
        if text.isEmpty { return .boundedBackfill(hours: 24) }
        if let mode = CursorInitMode(text) { return mode }
        guard text.utf8.elementsEqual("explicit_timestamp".utf8) else {
            throw ServiceError(
                .initOutOfRange,
                "the init mode \(text) is not known; use bounded_backfill_<hours>h, start_now, "
                    + "full_backfill or explicit_timestamp", field: "init_mode")
        }
        guard timestampMilliseconds > 0 else {
            throw ServiceError(
                .missingField, "explicit_timestamp needs its time", field: "init_timestamp_unix_ms")
        }
        return .explicitTimestamp(unixMilliseconds: timestampMilliseconds)
    }

    /// Blocks.
    ///
    /// - Parameters:
    ///   - clock: the wall clock, milliseconds since 1970. Append times are of it and never go back, so
    ///     where it went back the last of them is the time.
    ///   - began: when the log's first epoch began.
    static func resolve(
        _ mode: CursorInitMode, in buffer: any ReadableBuffer, clock: Int64, began: Int64
    ) throws(BufferError) -> Result<CursorStart, ServiceError> {
        let first = buffer.firstOffset
        let head = buffer.headOffset
        let clock = max(clock, head > first ? try appendTime(of: head - 1, in: buffer) ?? clock : clock)
        switch mode {
        case .startNow: return .success(CursorStart(offset: head))
        case .fullBackfill:
            let oldest = try appendTime(of: first, in: buffer) ?? clock
            return .success(
                CursorStart(offset: first, shortfallMilliseconds: first > 0 ? oldest - began : 0))
        case .boundedBackfill(let hours):
            let since = clock - Int64(hours) * 3_600_000
            let oldest = try appendTime(of: first, in: buffer) ?? clock
            return .success(
                CursorStart(
                    offset: try buffer.offset(atOrAfterMilliseconds: since),
                    shortfallMilliseconds: first > 0 ? max(0, oldest - since) : 0))
        case .explicitTimestamp(let time):
            let oldest = try appendTime(of: first, in: buffer) ?? began
            guard (oldest...max(oldest, clock)).contains(time) else {
                return .failure(outOfRange(time, oldest, clock, buffer))
            }
            return .success(
                CursorStart(offset: try buffer.offset(atOrAfterMilliseconds: time)))
        }
    }

    private static func outOfRange(
        _ time: Int64, _ oldest: Int64, _ clock: Int64, _ buffer: any ReadableBuffer
    ) -> ServiceError {
        var error = ServiceError(
            .initOutOfRange,
            "the init_timestamp \(Timestamp.text(time)) is outside of what the source has, from "
                + "\(Timestamp.text(oldest)) to \(Timestamp.text(clock)); choose one inside, or "
                + "full_backfill or start_now", field: "init_timestamp_unix_ms")
        error.firstOffset = buffer.firstOffset
        error.headOffset = buffer.headOffset
        return error
    }

    /// When the record at an offset was appended; nil at the head.
    private static func appendTime(of offset: UInt64, in buffer: any ReadableBuffer)
        throws(BufferError) -> Int64?
    {
        var offset = offset
        while offset < buffer.headOffset {
            var time: Int64?
            do throws(BufferError) {
                _ = try buffer.read(from: offset, maximumCount: 1, maximumBytes: 1) { record in
                    time = record.appendedMilliseconds
                    return false
                }
                return time
            } catch {
                // Truncation has gone on since the first offset was asked for.
                guard case .gap(let gap) = error.kind else { throw error }
                offset = gap.offsets.upperBound
            }
        }
        return nil
    }

    /// What the cursor keeps of its initialisation, so that the same question gets the same answer:
    /// `full_backfill`, or `full_backfill short by 1200 ms`.
    struct Recorded: Sendable, Equatable {
        var mode: String
        var shortfallMilliseconds: Int64

        init(mode: String, shortfallMilliseconds: Int64 = 0) {
            self.mode = mode
            self.shortfallMilliseconds = shortfallMilliseconds
        }

        init(text: String) {
            let words = text.split(separator: " ")
            mode = words.first.map(String.init) ?? text
            shortfallMilliseconds = words.count == 5 ? Int64(words[3]) ?? 0 : 0
        }

        var text: String {
            shortfallMilliseconds > 0 ? "\(mode) short by \(shortfallMilliseconds) ms" : mode
        }
    }
}

extension CursorInitMode {
    /// With its time, where it has one.
    var recordedText: String {
        if case .explicitTimestamp(let milliseconds) = self {
            return "\(description)@\(Timestamp.text(milliseconds))"
        }
        return description
    }
}

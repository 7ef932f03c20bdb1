internal import Foundation
internal import WriteAheadLog

/// Works through the commands of `bsfg log exercise`.
///
/// The calling thread reads commands and appends without waiting; confirmations run on a thread of
/// their own, so that they meet commits under way. Every answer is one write of one line.
final class LogExerciser: @unchecked Sendable {
    /// Where the cursor of the exercise belongs.
    static let cursorOwner = "exercise"
    static let cursorName = "reader"

    private static let lineBytesMaximum = 4096
    private static let recordCountMaximum = 100_000

    private let log: Log
    private let inFlight: Int
    private let condition = NSCondition()

    // Guarded by `condition`.
    private var underWay = 0
    private var confirmations: [(line: Int, nextOffset: UInt64)] = []
    private var confirmationsUnderWay = 0
    private var inputEnded = false

    init(_ log: Log, inFlight: Int) {
        self.log = log
        self.inFlight = inFlight
    }

    func run() throws(CommandFailure) {
        answer(0, "opened", openingMembers())
        let confirmer = Thread { [self] in runConfirmations() }
        confirmer.start()
        do throws(LogError) {
            if log.cursor(owner: Self.cursorOwner, name: Self.cursorName) == nil {
                try log.createCursor(Cursor(owner: Self.cursorOwner, name: Self.cursorName))
            }
        } catch { answer(0, error) }
        var input = LineReader(
            descriptor: STDIN_FILENO, lineBytesMaximum: Self.lineBytesMaximum)
        var line = 0
        while let text = try input.next() {
            line += 1
            let words = text.split(separator: UInt8(ascii: " ")).map {
                String(decoding: $0, as: UTF8.self)
            }
            guard perform(line, words) else {
                throw CommandFailure(
                    .usage, "line \(line) is no command: \(words.joined(separator: " "))")
            }
        }
        waitForAnswers()
        condition.lock()
        inputEnded = true
        condition.broadcast()
        condition.unlock()
        log.close()
        answer(line + 1, "closed", [])
    }

    private func perform(_ line: Int, _ words: [String]) -> Bool {
        switch words.first {
        case "append", "plain":
            guard (3...4).contains(words.count), let byteCount = Int(words[2]),
                (0...(4 << 20)).contains(byteCount),
                let count = words.count == 4 ? Int(words[3]) : 1,
                (1...Self.recordCountMaximum).contains(count)
            else { return false }
            append(
                line, key: words[1], byteCount: byteCount, count: count,
                isKeyed: words[0] == "append")
        case "confirm":
            guard words.count == 2, let nextOffset = UInt64(words[1]) else { return false }
            condition.lock()
            confirmations.append((line, nextOffset))
            condition.broadcast()
            condition.unlock()
        case "read":
            guard words.count == 3, let first = UInt64(words[1]), let count = Int(words[2]),
                count >= 0
            else { return false }
            read(line, from: first, count: count)
        case "gaps":
            answer(line, "gaps", [("gaps", .list(log.gaps(in: 0..<log.headOffset).map(gap)))])
        case "acknowledge":
            do throws(LogError) {
                let isEnded = try log.acknowledgeAlarm(by: Self.cursorOwner, reason: "exercise")
                answer(line, "acknowledged", [("ended", .flag(isEnded))])
            } catch { answer(line, error) }
        case "stats":
            statistics(line)
        case "wait":
            waitForAnswers()
            answer(line, "waited", [])
        default:
            return false
        }
        return true
    }

    // MARK: - Append

    private func append(_ line: Int, key: String, byteCount: Int, count: Int, isKeyed: Bool) {
        let batch = AppendBatch(capacityBytes: count * (byteCount + 128))
        do throws(LogError) {
            for index in 0..<count {
                let name = Array("\(key)/\(index)".utf8)
                let payload = ExercisePayload.bytes(key: name, byteCount: byteCount)
                if isKeyed {
                    try batch.add(
                        key: ExercisePayload.digest(name),
                        content: ExercisePayload.digest(payload), payload: payload)
                } else {
                    try batch.add(payload: payload)
                }
            }
        } catch { return answer(line, error) }
        condition.lock()
        while underWay >= inFlight { condition.wait() }
        underWay += 1
        condition.unlock()
        let began = DispatchTime.now().uptimeNanoseconds
        log.append(batch) { [self] result in
            let microseconds = (DispatchTime.now().uptimeNanoseconds - began) / 1000
            switch result {
            case .success(let receipt): appended(line, receipt, microseconds)
            case .failure(let error): answer(line, error, microseconds)
            }
            condition.lock()
            underWay -= 1
            condition.broadcast()
            condition.unlock()
        }
    }

    private func appended(_ line: Int, _ receipt: AppendReceipt, _ microseconds: UInt64) {
        let offsets = receipt.outcomes.map { $0.offset ?? 0 }
        var members: [(String, JSONOutput)] = [
            ("first", .unsigned(offsets.first ?? 0)), ("last", .unsigned(offsets.last ?? 0)),
        ]
        let isOneNewRun = receipt.outcomes.enumerated().allSatisfy { index, outcome in
            outcome == .appended(offset: offsets[0] + UInt64(index))
        }
        if !isOneNewRun {
            members.append(
                ("outcomes", .list(receipt.outcomes.map { .text(Self.word($0)) })))
            members.append(("offsets", .list(offsets.map { .unsigned($0) })))
        }
        members.append(("microseconds", .unsigned(microseconds)))
        answer(line, "appended", members)
    }

    private static func word(_ outcome: AppendOutcome) -> String {
        switch outcome {
        case .appended: "appended"
        case .existing: "existing"
        case .conflict: "conflict"
        case .skipped: "skipped"
        }
    }

    // MARK: - Confirm

    private func runConfirmations() {
        condition.lock()
        while true {
            guard !confirmations.isEmpty else {
                if inputEnded { break }
                condition.wait()
                continue
            }
            let next = confirmations.removeFirst()
            confirmationsUnderWay += 1
            condition.unlock()
            do throws(LogError) {
                let cursor = try log.confirm(
                    owner: Self.cursorOwner, name: Self.cursorName, nextOffset: next.nextOffset)
                answer(next.line, "confirmed", [("next_offset", .unsigned(cursor.nextOffset))])
            } catch { answer(next.line, error) }
            condition.lock()
            confirmationsUnderWay -= 1
            condition.broadcast()
        }
        condition.unlock()
    }

    private func waitForAnswers() {
        condition.lock()
        while underWay > 0 || !confirmations.isEmpty || confirmationsUnderWay > 0 {
            condition.wait()
        }
        condition.unlock()
    }

    // MARK: - Read

    private func read(_ line: Int, from first: UInt64, count: Int) {
        var found = 0
        var wrong = 0
        do throws(LogError) {
            let next = try log.read(from: first, maximumCount: count) { record in
                if record.offset != first + UInt64(found)
                    || !ExercisePayload.isConsistent(Array(record.payload))
                {
                    wrong += 1
                }
                found += 1
                return true
            }
            answer(
                line, "read",
                [
                    ("count", .integer(Int64(found))), ("wrong", .integer(Int64(wrong))),
                    ("next_offset", .unsigned(next)),
                ])
        } catch { answer(line, error) }
    }

    // MARK: - Statistics

    private func openingMembers() -> [(String, JSONOutput)] {
        let report = log.recovery
        return [
            ("created", .flag(report.created)), ("first_offset", .unsigned(log.firstOffset)),
            ("head_offset", .unsigned(log.headOffset)), ("row", .text(report.row.rawValue)),
            ("decision", .text(report.decision.rawValue)),
            ("cut_bytes", .unsigned(report.cutBytes)),
            ("milliseconds", .integer(report.durationMilliseconds)),
        ]
    }

    private func statistics(_ line: Int) {
        let now = log.statistics()
        answer(
            line, "statistics",
            [
                ("first_offset", .unsigned(now.firstOffset)),
                ("head_offset", .unsigned(now.headOffset)),
                ("segments", .integer(Int64(now.segmentCount))),
                ("fill_bytes", .unsigned(now.fillBytes)),
                ("accepting", .flag(now.isAcceptingRecords)),
                ("alarm", .flag(now.isAlarmRaised)),
                ("capacity_bytes", .unsigned(now.capacityBytes)),
                ("poison", now.poison.map { .text($0.error.sentence) } ?? .null),
                (
                    "next_offset",
                    log.cursor(owner: Self.cursorOwner, name: Self.cursorName)
                        .map { .unsigned($0.nextOffset) } ?? .null
                ),
            ])
    }

    private func gap(_ gap: Gap) -> JSONOutput {
        .object([
            ("first", .unsigned(gap.offsets.lowerBound)), ("end", .unsigned(gap.offsets.upperBound)),
            ("reasons", .list(gap.reasons.names.map { .text($0) })),
        ])
    }

    // MARK: - Answers

    private func answer(_ line: Int, _ error: LogError, _ microseconds: UInt64? = nil) {
        var members: [(String, JSONOutput)] = [
            ("reason", .text(error.caseName)), ("sentence", .text(error.sentence)),
        ]
        if let microseconds { members.append(("microseconds", .unsigned(microseconds))) }
        answer(line, error.exerciseAnswer, members)
    }

    private func answer(_ line: Int, _ word: String, _ members: [(String, JSONOutput)]) {
        let object = JSONOutput.object(
            [("line", .integer(Int64(line))), ("answer", .text(word))] + members)
        let text = Array((object.text + "\n").utf8)
        condition.lock()
        defer { condition.unlock() }
        var done = 0
        while done < text.count {
            let count = text.withUnsafeBytes {
                write(STDOUT_FILENO, $0.baseAddress! + done, text.count - done)
            }
            // Who gave the commands is gone, and nobody is left to tell.
            guard count > 0 || errno == EINTR else { return }
            done += max(0, count)
        }
    }
}

extension LogError {
    /// Whether something may have been written.
    fileprivate var exerciseAnswer: String {
        switch self {
        case .rejected: "refused"
        case .outcomeUnknown: "unknown"
        case .poisoned: "poisoned"
        default: "failed"
        }
    }

    /// The name of the reason as the code has it: `noSpace`, `payloadTooLarge`.
    fileprivate var caseName: String {
        switch self {
        case .rejected(let reason): Self.name(of: reason)
        default: Self.name(of: self)
        }
    }

    private static func name(of value: Any) -> String {
        let text = String(describing: value)
        return String(text[..<(text.firstIndex(of: "(") ?? text.endIndex)])
    }
}

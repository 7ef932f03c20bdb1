internal import Facts
internal import Foundation
internal import WriteAheadLog

/// Appends lines, many at once, and prints their answers in order.
///
/// The calling thread reads and appends; the log's committing thread brings the answers; one thread
/// prints them. What became durable together is printed with one write.
final class LineAppender: @unchecked Sendable {
    private let log: Log
    private let isKeyed: Bool
    private let inFlight: Int
    private let condition = NSCondition()
    private let printerEnded = DispatchSemaphore(value: 0)

    // Guarded by `condition`. Line n's answer is in slot n modulo the window.
    private var answers: [Result<AppendOutcome, LogError>?]
    private var submitted = 0
    private var printed = 0
    private var inputEnded = false
    private var failure: CommandFailure?

    init(_ log: Log, isKeyed: Bool, inFlight: Int) {
        self.log = log
        self.isKeyed = isKeyed
        self.inFlight = inFlight
        answers = .init(repeating: nil, count: inFlight)
    }

    /// - Returns: what ended it before its input did; the earliest line's failure.
    func run() -> CommandFailure? {
        let printer = Thread { [self] in
            printAnswers()
            printerEnded.signal()
        }
        printer.start()
        let inputFailure = appendLines()
        condition.lock()
        inputEnded = true
        condition.broadcast()
        condition.unlock()
        printerEnded.wait()
        return failure ?? inputFailure
    }

    private func appendLines() -> CommandFailure? {
        var input = LineReader(descriptor: STDIN_FILENO, lineBytesMaximum: 8 << 20)
        var number = 0
        while true {
            let line: [UInt8]?
            do { line = try input.next() } catch {
                return CommandFailure(error.status, "line \(number + 1): \(error.message)")
            }
            guard let line else { return nil }
            number += 1
            let batch = AppendBatch(capacityBytes: line.count + 128)
            do throws(LogError) {
                if isKeyed {
                    guard let tab = line.firstIndex(of: UInt8(ascii: "\t")) else {
                        return CommandFailure(
                            .usage, "line \(number) has no tab; with --keyed a line is KEY<TAB>PAYLOAD")
                    }
                    let payload = Array(line[(tab + 1)...])
                    try batch.add(
                        key: digest(Array(line[..<tab])), content: digest(payload), payload: payload)
                } else {
                    try batch.add(payload: line)
                }
            } catch {
                return CommandFailure(.failure, "line \(number): \(error.sentence)")
            }
            guard let slot = takeSlot() else { return nil }
            log.append(batch) { [self] result in
                answer(slot, result.map { $0.outcomes[0] })
            }
        }
    }

    private func digest(_ bytes: [UInt8]) -> Digest256 {
        SHA256.hash(bytes).withUnsafeBytes { Digest256(bytes: $0) }
    }

    /// Waits for room in the window; nil once something failed.
    private func takeSlot() -> Int? {
        condition.lock()
        defer { condition.unlock() }
        while submitted - printed >= inFlight, failure == nil { condition.wait() }
        guard failure == nil else { return nil }
        submitted += 1
        return (submitted - 1) % inFlight
    }

    private func answer(_ slot: Int, _ result: Result<AppendOutcome, LogError>) {
        condition.lock()
        answers[slot] = result
        if slot == printed % inFlight { condition.broadcast() }
        condition.unlock()
    }

    private func printAnswers() {
        condition.lock()
        defer { condition.unlock() }
        while true {
            var text: [UInt8] = []
            var count = 0
            while printed + count < submitted, failure == nil,
                let answer = answers[(printed + count) % inFlight]
            {
                answers[(printed + count) % inFlight] = nil
                switch answer {
                case .success(let outcome): text += LineAppender.line(outcome)
                case .failure(let error): failure = error.commandFailure
                }
                count += 1
            }
            if count == 0 {
                if failure != nil || (inputEnded && printed == submitted) { return }
                condition.wait()
                continue
            }
            condition.unlock()
            let written = LineAppender.write(text)
            condition.lock()
            if !written, failure == nil {
                failure = CommandFailure(.failure, "standard output is closed")
            }
            printed += count
            condition.broadcast()
        }
    }

    private static func line(_ outcome: AppendOutcome) -> [UInt8] {
        let word =
            switch outcome {
            case .appended: "appended"
            case .existing: "existing"
            case .conflict: "conflict"
            case .skipped: "skipped"
            }
        return Array("\(outcome.offset ?? 0)\t\(word)\n".utf8)
    }

    private static func write(_ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Foundation.write(STDOUT_FILENO, $0.baseAddress! + done, bytes.count - done)
            }
            guard count > 0 || errno == EINTR else { return false }
            done += max(0, count)
        }
        return true
    }
}

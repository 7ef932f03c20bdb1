internal import WriteAheadLog

/// Takes the answers to appends that were queued together, while they are given. All of it runs on the
/// thread that steps the log.
final class QueuedAnswers: @unchecked Sendable {
    private let session: SimulatedSession
    private var answeredCount = 0
    /// A batch was refused: the offsets of those behind it are others than were foreseen.
    private var isShifted = false
    private var violation: Violation?
    var submittedCount = 0

    init(_ session: SimulatedSession) { self.session = session }

    func take(
        _ result: Result<AppendReceipt, LogError>, transaction: Int?, expected: [AppendOutcome]
    ) {
        answeredCount += 1
        switch result {
        case .success(let receipt):
            if let transaction {
                guard session.model.pending.first?.number == transaction else {
                    return fail("answers were given in another order than the appends")
                }
                session.model.acknowledge(sequence: receipt.sequence)
            }
            if !isShifted, Array(receipt.outcomes) != expected {
                fail("answered \(receipt.outcomes) where \(expected) is right")
            }
            for outcome in receipt.outcomes {
                if let offset = outcome.offset, offset >= UInt64(session.model.records.count) {
                    fail("an answer names offset \(offset), which is not durable")
                }
            }
        case .failure(let error):
            switch error {
            case .outcomeUnknown: break
            default:
                isShifted = true
                if let transaction { session.model.withdraw(transaction) }
            }
            if let wrong = session.wrongRefusal(error) { fail(wrong) }
        }
    }

    private func fail(_ sentence: String) {
        if violation == nil { violation = Violation(sentence) }
    }

    func judge() throws(Violation) {
        if let violation { throw violation }
        guard answeredCount == submittedCount else {
            throw Violation("\(submittedCount) appends had \(answeredCount) answers")
        }
    }
}

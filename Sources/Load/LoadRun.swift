package import RPC

/// One load: sends the facts of a template by a schedule and counts the answers.
///
/// Confined to the event loop of its client until the client's `run` has returned, which is what makes
/// `@unchecked Sendable` true.
package final class LoadRun: LoadDriver, @unchecked Sendable {
    /// An acknowledged call, for whoever follows its facts.
    package struct Acknowledgement: Sendable {
        package let call: LoadSchedule.Call
        package let body: [UInt8]
        package let nowNanoseconds: UInt64
    }

    /// A server that refuses is not asked for ever.
    private static let failuresMaximum = 100

    private var schedule: LoadSchedule
    private var template: FactTemplate
    private let firstNumber: Int
    private let acknowledged: (@Sendable (Acknowledgement) -> Void)?
    private var outstanding: [Int: LoadSchedule.Call] = [:]
    private var counted: LoadFigures
    private var lastAnswerNanoseconds: UInt64

    /// - Parameters:
    ///   - firstNumber: of the first call; runs with one template count on.
    ///   - acknowledged: told of every call that was answered well, on the event loop.
    package init(
        _ schedule: LoadSchedule, _ template: FactTemplate, firstNumber: Int = 0,
        acknowledged: (@Sendable (Acknowledgement) -> Void)? = nil
    ) {
        self.schedule = schedule
        self.template = template
        self.firstNumber = firstNumber
        self.acknowledged = acknowledged
        counted = LoadFigures(
            pace: schedule.pace, factsPerCall: template.factsPerCall,
            seconds: Double(schedule.endNanoseconds - schedule.measureFromNanoseconds) / 1e9)
        lastAnswerNanoseconds = schedule.measureFromNanoseconds
        outstanding.reserveCapacity(1_024)
    }

    package func next(nowNanoseconds: UInt64) -> LoadStep {
        guard counted.failedCalls < Self.failuresMaximum else { return .finished }
        switch schedule.next(nowNanoseconds: nowNanoseconds) {
        case .finished: return .finished
        case .wait(let time): return .wait(untilNanoseconds: time)
        case .send(let call):
            outstanding[call.number] = call
            return .send(number: call.number, body: template.body(call: firstNumber + call.number))
        }
    }

    package func answered(
        number: Int, _ result: Result<[UInt8], RPCClientError>, nowNanoseconds now: UInt64
    ) {
        guard let call = outstanding.removeValue(forKey: number) else {
            preconditionFailure("every answer belongs to a call, once")
        }
        switch result {
        case .success(let body):
            counted.answeredCalls += 1
            lastAnswerNanoseconds = max(lastAnswerNanoseconds, now)
            if now >= schedule.measureFromNanoseconds, now < schedule.endNanoseconds {
                counted.answersInTime += 1
            }
            if call.isMeasured {
                counted.latencies.record(nanoseconds: now - call.scheduledNanoseconds)
            }
            acknowledged?(Acknowledgement(call: call, body: body, nowNanoseconds: now))
        case .failure(let error):
            counted.failedCalls += 1
            if counted.failure == nil { counted.failure = error.description }
        }
    }

    /// After the client's `run` has returned.
    package var figures: LoadFigures {
        var figures = counted
        figures.sentCalls = schedule.sent
        figures.unsentCalls = schedule.unsent()
        // A load of so many calls is over with the last answer.
        if schedule.isUsedUp, lastAnswerNanoseconds < schedule.endNanoseconds {
            figures.seconds =
                Double(lastAnswerNanoseconds - schedule.measureFromNanoseconds) / 1e9
        }
        return figures
    }
}

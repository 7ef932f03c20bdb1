/// What a load showed.
package struct LoadFigures: Sendable {
    package var pace: LoadSchedule.Pace
    package var factsPerCall: Int
    /// From the end of the warm-up to the end of the schedule, or to the last answer where it is a count of
    /// calls that ends the load.
    package var seconds: Double
    /// All calls, the warm-up's too.
    package var sentCalls = 0
    package var answeredCalls = 0
    package var failedCalls = 0
    /// Calls of an open loop that were never sent: the server is too slow for the rate.
    package var unsentCalls = 0
    /// Answers that came within `seconds`, whenever their calls were sent.
    package var answersInTime = 0
    /// Of the measured calls, from the time they were to be sent.
    package var latencies = Latencies()
    /// The first failure's sentence.
    package var failure: String?

    package init(pace: LoadSchedule.Pace, factsPerCall: Int, seconds: Double) {
        self.pace = pace
        self.factsPerCall = factsPerCall
        self.seconds = seconds
    }

    package var callsPerSecond: Double { seconds > 0 ? Double(answersInTime) / seconds : 0 }
    package var factsPerSecond: Double { callsPerSecond * Double(factsPerCall) }
    package var acknowledgedFacts: Int { answeredCalls * factsPerCall }

    /// Whether everything was answered, and an open loop kept up with its schedule.
    package var isComplete: Bool {
        guard failedCalls == 0, unsentCalls == 0, answeredCalls == sentCalls else { return false }
        guard case .open(let rate) = pace else { return true }
        return callsPerSecond >= 0.98 * rate
    }
}

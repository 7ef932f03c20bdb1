import Testing

@testable import LogSimulation
@testable import WriteAheadLog

@Suite("Engine decisions: the simulation")
struct Decisions22Tests {
    @Test("decision 22: a seed's life has 200 operations, two rolls, a truncation, a recycled segment, cursors, retries and a reopening")
    func wholeLife() {
        let seed = SimulationTests.seed("decision 22")
        for profile in Profile.allCases {
            var settings = SimulationSettings()
            settings.profile = profile
            // What is judged is fewer; what is done is not.
            settings.spacing = 60
            settings.draws = 1
            settings.damages = 1
            var done: [String: Int] = [:]
            let (tally, failure) = SimulationRun.run(seed: seed, settings: settings) { sentence in
                done[sentence, default: 0] += 1
            }
            #expect(failure == nil, "\(failure?.sentence ?? "")")
            #expect(tally.operations >= 200 && tally.rolls >= 2, "\(tally)")
            #expect(tally.truncations >= 1 && tally.recycledSegments >= 1, "\(tally)")
            #expect(tally.reopenings >= 1 && tally.crashes > 0, "\(tally)")
            #expect(tally.completeSeeds == 1)
            // A confirmation makes the cursor that it needs; to make one by itself is drawn seldom.
            for operation in ["confirm", "retry"] {
                #expect(done[operation, default: 0] >= 1, "\(operation)")
            }
            #expect(done["close", default: 0] + done["kill", default: 0] + done["power cut", default: 0] >= 1)
        }
    }

    @Test("decision 22: a run that met a row or a fault too seldom says which")
    func shortfalls() {
        var report = SimulationReport()
        for row in RecoveryRow.allCases { report.tally.rows[row] = 1_000 }
        for fault in DiskFault.allCases { report.tally.faults[fault] = 1_000 }
        #expect(report.shortfalls(minimum: 1_000).isEmpty)
        report.tally.rows[.readError] = 999
        report.tally.faults[.lyingFlush] = nil
        let sentences = report.shortfalls(minimum: 1_000)
        #expect(sentences.count == 2)
        #expect(sentences.contains { $0.hasPrefix("row B: 999") })
        #expect(sentences.contains { $0.contains(DiskFault.lyingFlush.rawValue) })
    }
}

import Foundation
import Testing

@testable import Gateway

@Suite struct CertificateWatchTests {
    private final class Files {
        let directory = NSTemporaryDirectory() + "watch-\(UUID().uuidString)"

        init() throws {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        func state(staleLists: Set<[UInt8]> = []) -> CertificateFileState {
            CertificateFileState(
                ["a", "b"].map { "\(directory)/\($0)" }, staleLists: staleLists)
        }

        func write(_ name: String, _ text: String) throws {
            try text.write(toFile: "\(directory)/\(name)", atomically: true, encoding: .utf8)
        }
    }

    private let quiet = CertificateWatchMachine.quietMilliseconds

    @Test("gateway decision 40: changed files are read once they stay as they are")
    func changedFilesAreReadOnce() throws {
        let files = try Files()
        try files.write("a", "1")
        var machine = CertificateWatchMachine(files.state())
        #expect(machine.look(files.state(), atMilliseconds: 0) == .none)
        try files.write("b", "1")
        #expect(machine.look(files.state(), atMilliseconds: 1) == .none, "it may go on changing")
        #expect(machine.look(files.state(), atMilliseconds: quiet) == .none)
        try files.write("b", "2")
        #expect(machine.look(files.state(), atMilliseconds: quiet + 1) == .none, "it does")
        #expect(machine.look(files.state(), atMilliseconds: 2 * quiet) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 2 * quiet + 1) == .reload)
        #expect(machine.reloaded(failure: nil, atMilliseconds: 2 * quiet + 1) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 9 * quiet) == .none)
        // Nobody changes a file when a CRL has had its time.
        #expect(machine.look(files.state(staleLists: [[1]]), atMilliseconds: 10 * quiet) == .none)
        #expect(machine.look(files.state(staleLists: [[1]]), atMilliseconds: 11 * quiet) == .reload)
        // And another one in its place is another change.
        #expect(machine.look(files.state(staleLists: [[2]]), atMilliseconds: 12 * quiet) == .none)
        #expect(machine.look(files.state(staleLists: [[2]]), atMilliseconds: 13 * quiet) == .reload)
    }

    @Test("gateway decision 40: a change is read soon enough for a revoked caller to be gone within 2 s")
    func changedFilesAreReadInTime() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        var now: Int64 = 0
        #expect(machine.look(files.state(), atMilliseconds: now) == .none)
        try files.write("a", "1")
        repeat { now += CertificateWatch.intervalMilliseconds } while
            machine.look(files.state(), atMilliseconds: now) == .none && now < 60_000
        #expect(now <= 1_200)
    }

    @Test("gateway decision 40: a file that keeps changing holds up no other, and is read all the same")
    func aFileThatKeepsChangingHoldsUpNoOther() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        let step = CertificateWatch.intervalMilliseconds
        var reloads: [Int64] = []
        for now in stride(from: step, through: 12_000, by: Int(step)) {
            try files.write("a", "\(now)")
            // The other one changes once, after a while.
            if now == 1_000 { try files.write("b", "1") }
            guard machine.look(files.state(), atMilliseconds: now) == .reload else { continue }
            reloads.append(now)
            #expect(machine.reloaded(failure: nil, atMilliseconds: now) == .none)
        }
        // The quiet one is read when it is; the other one 5 s after it was first seen to differ.
        let unrest = CertificateWatchMachine.unrestMilliseconds
        let first = 1_000 + quiet
        #expect(reloads == [first, first + step + unrest])
    }

    @Test func `files that could not be read at their change are read at the next look`() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        try files.write("a", "1")
        #expect(machine.look(files.state(), atMilliseconds: 0) == .none)
        #expect(machine.look(files.state(), atMilliseconds: quiet) == .reload)
        machine.postponed()
        #expect(machine.look(files.state(), atMilliseconds: quiet + 1) == .reload)
        #expect(machine.reloaded(failure: nil, atMilliseconds: quiet + 1) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 3 * quiet) == .none)
    }

    @Test("gateway decision 40: a half-written pair is an alarm after 30 s, once, and its end is told")
    func aHalfWrittenPairIsAnAlarm() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        func change(_ text: String, at milliseconds: Int64) throws {
            try files.write("a", text)
            #expect(machine.look(files.state(), atMilliseconds: milliseconds - quiet) == .none)
            #expect(machine.look(files.state(), atMilliseconds: milliseconds) == .reload)
        }
        try change("1", at: 1_000)
        #expect(machine.reloaded(failure: "not its key", atMilliseconds: 1_000) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 20_000) == .none)
        try change("2", at: 25_000)
        #expect(machine.reloaded(failure: "still not", atMilliseconds: 25_000) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 30_999) == .none)
        // It may have become good by itself, or by an operator's reload: that is asked before there is an alarm.
        #expect(machine.look(files.state(), atMilliseconds: 31_000) == .reload)
        #expect(machine.reloaded(failure: "still not", atMilliseconds: 31_000) == .alarm("still not"))
        #expect(machine.look(files.state(), atMilliseconds: 60_999) == .none)
        #expect(machine.look(files.state(), atMilliseconds: 61_000) == .reload)
        #expect(machine.reloaded(failure: "still not", atMilliseconds: 61_000) == .none, "told once")
        try change("3", at: 91_000)
        #expect(machine.reloaded(failure: nil, atMilliseconds: 91_000) == .recovered)
        #expect(machine.look(files.state(), atMilliseconds: 200_000) == .none)
    }

    @Test("gateway decision 40: what is kept out later is an alarm of its own, however long the first lasts")
    func eachCauseIsAnAlarm() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        /// Of files that stay unusable, read as often as the machine wants: what it tells, and when.
        func run(_ causes: Set<String>, from: Int64, through: Int64) -> [String: Int64] {
            var told: [String: Int64] = [:]
            for now in stride(from: from, through: through, by: 200) {
                guard machine.look(files.state(), atMilliseconds: now) == .reload || now == from else { continue }
                let sentence = causes.sorted().joined(separator: " and ")
                let action = machine.reloaded(failure: sentence, causes: causes, atMilliseconds: now)
                if case .alarm(let sentence) = action { told[sentence] = now }
            }
            return told
        }
        #expect(run(["a CRL"], from: 0, through: 99_800) == ["a CRL": 30_000])
        #expect(run(["a CRL", "the pair"], from: 100_000, through: 199_800) == ["a CRL and the pair": 130_000])
        #expect(run(["a CRL"], from: 200_000, through: 299_800) == [:])
        #expect(run(["a CRL", "the pair"], from: 300_000, through: 399_800) == ["a CRL and the pair": 330_000])
        #expect(machine.reloaded(failure: nil, atMilliseconds: 400_000) == .recovered)
        #expect(machine.reloaded(failure: nil, atMilliseconds: 400_001) == .none)
    }

    @Test func `a pair whose time comes within the half minute is in force without an alarm`() throws {
        let files = try Files()
        var machine = CertificateWatchMachine(files.state())
        try files.write("a", "1")
        #expect(machine.look(files.state(), atMilliseconds: 0) == .none)
        #expect(machine.look(files.state(), atMilliseconds: quiet) == .reload)
        #expect(machine.reloaded(failure: "not valid yet", atMilliseconds: quiet) == .none)
        #expect(machine.look(files.state(), atMilliseconds: quiet + 30_000) == .reload)
        #expect(machine.reloaded(failure: nil, atMilliseconds: quiet + 30_000) == .none)
        #expect(machine.look(files.state(), atMilliseconds: quiet + 90_000) == .none)
    }
}

import Synchronization
import Testing

@testable import Gateway

@Suite struct FaultPointTests {
    @Test func `a fault point ends the process at its hit and at no other`() throws {
        let lines = Mutex<[String]>([])
        let points = try FaultPoints(
            "committed:3", isStrict: false, end: { line in lines.withLock { $0.append(line) } })
        for _ in 0..<5 {
            for step in FaultPoints.Step.allCases where step != .committed { points.reached(step) }
        }
        #expect(lines.withLock { $0.isEmpty })
        for _ in 0..<2 { points.reached(.committed) }
        #expect(lines.withLock { $0.isEmpty })
        for _ in 0..<4 { points.reached(.committed) }
        #expect(
            lines.withLock { $0 } == [#"{"event":"fault_point","step":"committed","hit":3}"#])
    }

    @Test func `without the variable nothing happens, with a wrong one nothing starts`() throws {
        let none = try FaultPoints(nil, isStrict: true, end: { _ in Issue.record("it ended") })
        for step in FaultPoints.Step.allCases { none.reached(step) }
        for text in ["", "committed", "committed:", "committed:0", "committed:x", "nowhere:1", "a:1:2"] {
            #expect(throws: NodeError.self) { try FaultPoints(text, isStrict: false) }
        }
        #expect(throws: NodeError.self) { try FaultPoints("committed:1", isStrict: true) }
    }

    @Test func `a sil_strict stream is not taken into a process that has one`() throws {
        try FaultPoints(nil, isStrict: false).check(isStrict: true)
        let points = try FaultPoints("committed:9", isStrict: false)
        try points.check(isStrict: false)
        let refusal = try #require(throws: NodeError.self) { try points.check(isStrict: true) }
        #expect(refusal.sentence.contains(FaultPoints.variableName))
    }
}

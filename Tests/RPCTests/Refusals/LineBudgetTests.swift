import Testing

@testable import RPC

@Suite("Lines that others cause")
struct LineBudgetTests {
    private let refused = LineKind(event: "tls_refused", reason: "no_certificate")
    private let denied = LineKind(event: "access_denied", reason: "stream_not_granted", identity: "a")

    private func admitted(_ kind: LineKind, of count: Int, _ budget: inout LineBudget) -> Int {
        (0..<count).count { _ in budget.admits(kind) }
    }

    @Test("Ten a minute are written, then their number once a minute, until a minute without")
    func flood() {
        var budget = LineBudget()
        #expect(admitted(refused, of: 10_000, &budget) == 10)
        #expect(budget.endMinute().map(\.count) == [9_990])
        #expect(admitted(refused, of: 500, &budget) == 0)
        let second = budget.endMinute()
        #expect(second.map(\.count) == [500])
        #expect(second.map(\.kind) == [refused])
        #expect(budget.endMinute().isEmpty)
        #expect(admitted(refused, of: 11, &budget) == 10)
        #expect(budget.endMinute().map(\.count) == [1])
    }

    @Test("Ten lines in each minute are written, all of them")
    func steady() {
        var budget = LineBudget()
        for _ in 0..<100 {
            #expect(admitted(refused, of: 10, &budget) == 10)
            #expect(budget.endMinute().isEmpty)
        }
    }

    @Test("Every reason and every identity has lines of its own")
    func apart() {
        var budget = LineBudget()
        _ = admitted(refused, of: 1_000, &budget)
        #expect(admitted(denied, of: 4, &budget) == 4)
        #expect(
            admitted(
                LineKind(event: "access_denied", reason: "stream_not_granted", identity: "b"),
                of: 20, &budget) == 10)
        #expect(budget.endMinute().map(\.count) == [10, 990])
    }

    @Test("Nothing is lost in the counting, and however many kinds there are, memory is bounded")
    func kinds() {
        var budget = LineBudget()
        var written = 0
        for number in 0..<5_000 {
            for _ in 0..<12 where budget.admits(LineKind(event: "e", reason: "r", identity: "\(number)")) {
                written += 1
            }
        }
        let leftOut = budget.endMinute()
        #expect(leftOut.count <= LineBudget.kindsMaximum + 1)
        #expect(leftOut.reduce(0) { $0 + Int($1.count) } + written == 60_000)
    }
}

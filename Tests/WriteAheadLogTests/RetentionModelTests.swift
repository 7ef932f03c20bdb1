import Testing

@testable import WriteAheadLog

/// A log without bytes: planner, frontier and loss table against a set that knows every offset.
@Suite("Retention: a model that knows every offset")
struct RetentionModelTests {
    struct Model {
        var segments: [RetentionSegment] = []
        var activeBase: UInt64 = 0
        var activeBytes: UInt64 = 0
        var head: UInt64 = 0
        var now: Int64 = 1_000_000
        var activeStamp: Int64 = 1_000_000
        var isClockTrusted = true
        var announcedBelow: UInt64 = 0
        var cursors: [TestCursor] = []
        var table = LossTable()
        /// The truth.
        var removed: Set<UInt64> = []
        var lost: [UInt64: GapReasons] = [:]

        var firstOffset: UInt64 { segments.first?.baseOffset ?? activeBase }

        func confirmed(_ policy: LogPolicy, _ isTerminal: Bool) -> UInt64 {
            Frontier.confirmedOffset(
                cursors: cursors, awaited: [], policy: policy, isTerminal: isTerminal, headOffset: head)
        }

        func situation(_ policy: LogPolicy, _ isTerminal: Bool) -> RetentionSituation {
            RetentionSituation(
                segments: segments, activeBaseOffset: activeBase, activeBytes: activeBytes,
                activeLastAppendMilliseconds: activeStamp, headOffset: head, runBytes: 7,
                spareBytes: 11, confirmedOffset: confirmed(policy, isTerminal), nowMilliseconds: now,
                isClockTrusted: isClockTrusted, isRoomNeeded: false, missingFreeBytes: 0,
                expiryAnnouncedBelow: announcedBelow)
        }

        mutating func append(_ count: UInt64, bytes: UInt64) {
            head += count
            activeBytes += bytes
            activeStamp = now
        }

        mutating func roll(isSealed: Bool) {
            guard head > activeBase else { return }
            segments.append(
                RetentionSegment(
                    baseOffset: activeBase, endOffset: head, bytes: activeBytes,
                    lastAppendMilliseconds: activeStamp, isSealed: isSealed))
            activeBase = head
            activeBytes = 0
        }

        mutating func remove(_ count: Int) {
            for segment in segments.prefix(count) {
                removed.formUnion(segment.baseOffset..<segment.endOffset)
            }
            segments.removeFirst(count)
        }
    }

    static let policies: [LogPolicy] = [
        .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)),
        .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: 5000)),
        .standard(StandardPolicy(whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: nil)),
        .standard(StandardPolicy(whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: 7000)),
        .silStrict(StrictPolicy()),
    ]

    static let capacityBytes: UInt64 = 2000

    @Test(
        "Decisions 13 and 28: the losses are exactly the offsets that went unconfirmed",
        arguments: policies)
    func exactness(policy: LogPolicy) throws {
        let seed = SeededGenerator.seed("retention model")
        var chance = SeededGenerator(seed: seed)
        var lossCount = 0
        var removalCount = 0
        for round in 0..<15 {
            // At times longer than the lifetimes, which it then holds up.
            let minimum: Int64 = [0, 1000, 9000][round % 3]
            let options = RetentionOptions(
                highWatermark: 0.7, lowWatermark: 0.5,
                retentionMilliseconds: Bool.random(using: &chance) ? minimum + 3000 : nil,
                minimumRetentionMilliseconds: minimum,
                isTerminal: round % 5 == 0)
            try options.validate()
            let planner = RetentionPlanner(options: options, capacityBytes: Self.capacityBytes)
            var model = Model()
            model.cursors = (0..<Int.random(in: 0...3, using: &chance)).map { number in
                TestCursor(
                    name: "\(number)", required: policy.profile == .silStrict || number < 2,
                    maximumLagBytes: number == 2 && policy.profile == .standard ? 700 : nil)
            }
            for _ in 0..<150 {
                try act(&model, policy, &chance)
                let losses = try plan(&model, planner, options, policy)
                lossCount += losses.losses
                removalCount += losses.removed
                check(model, &chance)
            }
            if policy.profile == .silStrict { #expect(model.lost.isEmpty && model.table.spans.isEmpty) }
        }
        #expect(removalCount > 100, "\(policy) removed something")
        if case .standard(let standard) = policy,
            standard.whenFull == .dropOldest || standard.unconfirmedLifetimeMilliseconds != nil
        {
            #expect(lossCount > 100, "\(policy) lost something")
        } else {
            #expect(lossCount == 0)
        }
    }

    /// Something that happens to a log.
    func act(_ model: inout Model, _ policy: LogPolicy, _ chance: inout SeededGenerator) throws {
        switch Int.random(in: 0..<10, using: &chance) {
        case 0..<4:
            model.append(
                .random(in: 1...8, using: &chance), bytes: .random(in: 20...120, using: &chance))
            if Bool.random(using: &chance) { model.roll(isSealed: Bool.random(using: &chance)) }
        case 4:
            for index in model.segments.indices { model.segments[index].isSealed = true }
        case 5, 6:
            model.now += .random(in: 1...1500, using: &chance)
        case 7:
            model.isClockTrusted = Int.random(in: 0..<4, using: &chance) != 0
        case 8:
            guard let index = model.cursors.indices.randomElement(using: &chance) else { return }
            let next = model.cursors[index].nextOffset
            model.cursors[index].nextOffset = .random(in: next...model.head, using: &chance)
        default:
            // Damage in a sealed segment; the safety profile never gives a record up.
            guard policy.profile == .standard, Int.random(in: 0..<4, using: &chance) == 0,
                let segment = model.segments.filter(\.isSealed).randomElement(using: &chance)
            else { return }
            let first = UInt64.random(in: segment.baseOffset..<segment.endOffset, using: &chance)
            let end = UInt64.random(in: first + 1...segment.endOffset, using: &chance)
            try model.table.declare(
                first..<end, reasons: .corrupt, timeMilliseconds: model.now,
                firstOffset: model.firstOffset)
            for offset in first..<end where model.lost[offset] == nil { model.lost[offset] = .corrupt }
        }
    }

    /// Plans, checks the plan against the rules, and carries it out.
    func plan(
        _ model: inout Model, _ planner: RetentionPlanner, _ options: RetentionOptions,
        _ policy: LogPolicy
    ) throws -> (losses: Int, removed: Int) {
        for detachment in Frontier.detachments(
            cursors: model.cursors, policy: policy,
            situation: model.situation(policy, options.isTerminal)
        ).detachments {
            let index = try #require(model.cursors.firstIndex { $0.name == detachment.name })
            #expect(!model.cursors[index].required)
            model.cursors[index].isDetached = true
        }
        let before = model
        let situation = model.situation(policy, options.isTerminal)
        var planned: Set<UInt64> = []
        let removalCount: Int
        let wantedCount: Int
        switch policy {
        case .silStrict(let strict):
            let plan = planner.plan(situation, strict)
            (removalCount, wantedCount) = (plan.removalCount, plan.wantedCount)
            for segment in model.segments.prefix(plan.wantedCount) {
                #expect(segment.endOffset <= situation.confirmedOffset)
            }
        case .standard(let standard):
            let plan = planner.plan(situation, standard)
            (removalCount, wantedCount) = (plan.removalCount, plan.wantedCount)
            let firstOffset =
                removalCount < model.segments.count
                ? model.segments[removalCount].baseOffset : model.activeBase
            for loss in plan.losses {
                #expect(planned.isDisjoint(with: loss.offsets))
                planned.formUnion(loss.offsets)
                for offset in loss.offsets where model.lost[offset] == nil {
                    model.lost[offset] = loss.reasons
                }
                if loss.reasons == .expired { #expect(model.isClockTrusted) }
                try model.table.declare(
                    loss.offsets, reasons: loss.reasons, timeMilliseconds: model.now,
                    firstOffset: firstOffset)
            }
            model.announcedBelow = plan.expiryAnnouncedBelow
        }
        for segment in model.segments.prefix(removalCount) { #expect(segment.isSealed) }
        checkRules(situation, options, policy, wantedCount)
        model.remove(removalCount)
        let unconfirmed = model.removed.subtracting(before.removed).filter {
            $0 >= situation.confirmedOffset
        }
        #expect(planned == unconfirmed)
        checkMoments(model, planner, options, policy)
        return (planned.count, removalCount)
    }

    /// Every removal has a reason that the policy allows, and none goes further than it needs.
    func checkRules(
        _ situation: RetentionSituation, _ options: RetentionOptions, _ policy: LogPolicy,
        _ wantedCount: Int
    ) {
        let used = situation.usedBytes
        let high = UInt64(Double(Self.capacityBytes) * options.highWatermark)
        let low = UInt64(Double(Self.capacityBytes) * options.lowWatermark)
        func age(_ segment: RetentionSegment) -> Int64 {
            situation.nowMilliseconds - segment.lastAppendMilliseconds
        }
        func isConfirmed(_ segment: RetentionSegment) -> Bool {
            segment.endOffset <= situation.confirmedOffset
        }
        func isExpired(_ segment: RetentionSegment) -> Bool {
            guard case .standard(let standard) = policy,
                let lifetime = standard.unconfirmedLifetimeMilliseconds
            else { return false }
            return situation.isClockTrusted && !isConfirmed(segment) && age(segment) >= lifetime
        }
        let removed = situation.segments.prefix(wantedCount)
        var left = used
        var reclaimable: UInt64 = 0
        for segment in situation.segments {
            guard isConfirmed(segment), age(segment) >= options.minimumRetentionMilliseconds else {
                break
            }
            reclaimable += segment.bytes
        }
        for (index, segment) in removed.enumerated() {
            let isAged =
                isConfirmed(segment)
                && options.retentionMilliseconds.map { age(segment) >= $0 } ?? false
            let isBeforeExpired = removed.dropFirst(index).contains { isExpired($0) }
            let isForRoom = used >= high && left > low
            #expect(isAged || isBeforeExpired || isForRoom)
            let isYoung =
                isConfirmed(segment) && age(segment) < options.minimumRetentionMilliseconds
            if isYoung || !isConfirmed(segment) && !isBeforeExpired {
                guard case .standard(let standard) = policy, standard.whenFull == .dropOldest else {
                    Issue.record("\(policy) dropped")
                    return
                }
                #expect(used - reclaimable >= high)
            }
            left -= segment.bytes
        }
        if !situation.segments.contains(where: isExpired) {
            switch policy {
            case .silStrict(let strict):
                let plan = RetentionPlanner(options: options, capacityBytes: Self.capacityBytes)
                    .plan(situation, strict)
                #expect(plan.fillBytes == used - reclaimable)
            case .standard(let standard) where standard.whenFull == .reject:
                let plan = RetentionPlanner(options: options, capacityBytes: Self.capacityBytes)
                    .plan(situation, standard)
                #expect(plan.fillBytes == used - reclaimable)
            case .standard: break
            }
        }
    }

    /// What a plan comes to, for comparing two.
    struct Outcome: Equatable {
        var wanted: Int
        var fill: UInt64
        var warning: RetentionPlan.ExpiryWarning?
        var next: Int64?
    }

    func outcome(_ model: Model, _ planner: RetentionPlanner, _ isTerminal: Bool, _ policy: LogPolicy)
        -> Outcome
    {
        let situation = model.situation(policy, isTerminal)
        switch policy {
        case .silStrict(let strict):
            let plan = planner.plan(situation, strict)
            return Outcome(
                wanted: plan.wantedCount, fill: plan.fillBytes, next: plan.nextMomentMilliseconds)
        case .standard(let standard):
            let plan = planner.plan(situation, standard)
            return Outcome(
                wanted: plan.wantedCount, fill: plan.fillBytes, warning: plan.warning,
                next: plan.nextMomentMilliseconds)
        }
    }

    /// A plan that was carried out has nothing left to do, until the moment that it named.
    func checkMoments(
        _ model: Model, _ planner: RetentionPlanner, _ options: RetentionOptions, _ policy: LogPolicy
    ) {
        guard model.segments.allSatisfy(\.isSealed) else { return }
        var model = model
        let settled = outcome(model, planner, options.isTerminal, policy)
        #expect(settled.wanted == 0 && settled.warning == nil)
        guard let next = settled.next else {
            model.now += 1_000_000
            let later = outcome(model, planner, options.isTerminal, policy)
            #expect(later == settled)
            return
        }
        #expect(next > model.now)
        model.now = next - 1
        #expect(outcome(model, planner, options.isTerminal, policy) == settled)
        model.now = next
        var changed = outcome(model, planner, options.isTerminal, policy)
        changed.next = settled.next
        #expect(changed != settled)
    }

    /// The table and what readers meet, against the truth.
    func check(_ model: Model, _ chance: inout SeededGenerator) {
        var declared: [UInt64: GapReasons] = [:]
        for span in model.table.spans {
            for offset in span.first...span.last {
                declared[offset] = GapReasons(rawValue: span.reasons)
            }
        }
        #expect(declared == model.lost)
        #expect(
            model.table.gaps(in: 0..<model.head + 1).reduce(0) { $0 + $1.offsets.count }
                == model.lost.count)
        guard model.head > 0 else { return }
        for _ in 0..<5 {
            let offset = UInt64.random(in: 0..<model.head, using: &chance)
            var end = offset
            var reasons: GapReasons = []
            while end < model.firstOffset || model.lost[end] != nil {
                #expect(end >= model.firstOffset || model.removed.contains(end))
                reasons.formUnion(model.lost[end] ?? .reclaimed)
                end += 1
            }
            let gap = model.table.gap(at: offset, firstOffset: model.firstOffset)
            let offsets = end > offset ? offset..<end : nil
            #expect(gap?.offsets == offsets)
            #expect((gap?.reasons ?? []) == reasons)
        }
    }

    @Test("the loss table claims every loss and no held record, through any number of overflows")
    func overflow() throws {
        let seed = SeededGenerator.seed("loss table overflow")
        var chance = SeededGenerator(seed: seed)
        for _ in 0..<10 {
            var table = LossTable()
            var first: UInt64 = 0
            var lost: Set<UInt64> = []
            var damaged: [UInt64] = []
            for step in 0..<900 {
                let end = first + .random(in: 1...6, using: &chance)
                let from = UInt64.random(in: first..<end, using: &chance)
                // Damage far ahead stays among held records for a while.
                if step % 5 == 0 {
                    let place = first + .random(in: 500...1500, using: &chance)
                    let held = table.spans.count { $0.last >= first }
                    if held < LossTable.heldSpanCountMaximum - 1 {
                        try table.declare(
                            place..<place + 1, reasons: .corrupt, timeMilliseconds: 0,
                            firstOffset: first)
                        damaged.append(place)
                    }
                }
                try table.declare(
                    from..<end, reasons: step % 2 == 0 ? .dropped : .expired, timeMilliseconds: 0,
                    firstOffset: end)
                lost.formUnion(from..<end)
                first = end
                #expect(table.spans.count <= 256)
            }
            let claimed = table.spans.reduce(into: Set<UInt64>()) { $0.formUnion($1.first...$1.last) }
            #expect(claimed.isSuperset(of: lost.union(damaged)))
            #expect(claimed.filter { $0 >= first } == Set(damaged).filter { $0 >= first })
            // What was claimed without being lost says that it was reclaimed.
            for offset in claimed.subtracting(lost).subtracting(damaged) {
                let span = table.spans.first { $0.first <= offset && offset <= $0.last }
                let reasons = GapReasons(rawValue: try #require(span).reasons)
                #expect(reasons.contains(.reclaimed))
            }
            #expect(try LossTable(table.spans) == table)
        }
    }
}

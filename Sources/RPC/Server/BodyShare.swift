/// The steps of the bodies' budget that an answer holds on its way out. Whoever has the answer's bytes has
/// the share too: the last one to let go of them gives the steps back.
final class BodyShare: Sendable {
    private let admission: Admission
    private let holder: Admission.Holder
    private let steps: Int

    /// - Parameter steps: taken already.
    init(_ admission: Admission, _ holder: Admission.Holder, steps: Int) {
        self.admission = admission
        self.holder = holder
        self.steps = steps
    }

    deinit {
        admission.giveBody(steps: steps, holder)
    }
}

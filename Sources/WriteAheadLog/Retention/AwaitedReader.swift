/// A reader that was declared and may not have come yet: while it has no cursor nothing of the log is
/// confirmed, whoever else has read it.
public struct AwaitedReader: Hashable, Sendable {
    /// Whom the cursor that it will have belongs to.
    public var owner: String
    /// What that cursor is called.
    public var name: String

    /// A reader that is waited for by the cursor that it will have.
    public init(owner: String, name: String) {
        self.owner = owner
        self.name = name
    }

    /// Attached or not: of a cursor that exists it is known what truncation owes it.
    func has(_ cursor: some RetentionCursor) -> Bool {
        cursor.owner.utf8.elementsEqual(owner.utf8) && cursor.name.utf8.elementsEqual(name.utf8)
    }
}

internal import Gateway

/// What the demo found, and how to go on by hand.
struct DemoReport {
    let result: DemoRun.Result
    let site: TwoZoneSite

    var text: String {
        let proof = result.proof
        var table = Table("", "#")
        let lines: [(String, String)] = [
            ("facts acknowledged by plant-a", "\(proof.acknowledged)"),
            ("facts in enterprise's forward log", "\(proof.inForwardLog)"),
            ("lost", "\(proof.lost)"),
            ("duplicated", "\(proof.duplicated)"),
            ("content altered", "\(proof.altered)"),
            ("out of order", "\(proof.outOfOrder)"),
            ("redelivered and recognised", "\(result.redelivered)"),
            ("sent again by the producer", "\(result.counts.unknown)"),
            ("of those, there already", "\(result.counts.recognised)"),
            ("rows that stood in the file twice", "\(result.counts.repeated)"),
            ("rows that cannot be facts", "\(result.counts.invalid)"),
            ("nodes killed with SIGKILL", "\(result.kills)"),
            ("link cuts", "\(result.linkCuts)"),
            ("seconds", DemoText.decimal(result.seconds, 1)),
        ]
        for line in lines { table.row([line.0, line.1]) }
        var text = "\n" + table.text.split(separator: "\n").joined(separator: "\n")
        if let refusal = result.firstRefusal { text += "\nthe first such row: \(refusal)" }
        return text + "\n\n"
            + (result.holds
                ? "Every acknowledged fact is in enterprise's log exactly once, content identical "
                    + "by digest, in order."
                : "The proof does NOT hold.")
    }

    var json: JSONOutput {
        let proof = result.proof
        func number(_ value: Int) -> JSONOutput { .integer(Int64(value)) }
        return .object([
            ("holds", .flag(result.holds)),
            ("acknowledged", number(proof.acknowledged)),
            ("in_source_log", number(proof.inSourceLog)),
            ("in_forward_log", number(proof.inForwardLog)),
            ("lost", number(proof.lost)),
            ("duplicated", number(proof.duplicated)),
            ("altered", number(proof.altered)),
            ("out_of_order", number(proof.outOfOrder)),
            ("unexpected", number(proof.unexpected)),
            ("redelivered", .unsigned(result.redelivered)),
            ("sent_again", number(result.counts.unknown)),
            ("there_already", number(result.counts.recognised)),
            ("repeated_rows", number(result.counts.repeated)),
            ("invalid_rows", number(result.counts.invalid)),
            ("kills", number(result.kills)),
            ("link_cuts", number(result.linkCuts)),
            ("seconds", .number((result.seconds * 10).rounded() / 10)),
            ("directory", .text(site.directory)),
        ])
    }

    /// Commands to talk to the nodes that were left running.
    static func commands(_ site: TwoZoneSite, _ pids: [Int32]) -> String {
        let authority = shellQuoted(site.authorityFile)
        func curl(_ identity: String) -> String {
            let path = shellQuoted(site.client(identity))
            return "curl --cacert \(authority) --cert \(path).crt --key \(path).key"
        }
        let producer = curl(TwoZoneSite.producer)
        let consumer = curl(TwoZoneSite.consumer)
        let source = "https://127.0.0.1:\(site.sourcePort)"
        let receiver = "https://127.0.0.1:\(site.receiverPort)"
        let fact =
            #"{"stream":"\#(TwoZoneSite.stream)","envelope":{"messageId":"by-hand-1","fromZone":"#
            + #""\#(TwoZoneSite.source)","toZone":"\#(TwoZoneSite.receiver)","producedAtUnixMs":"#
            + #""1736935200000"},"fact":{"subject":"turbine:R80711","predicate":"reading_taken","#
            + #""object":{"P_avg":514.2}}}"#
        let all = pids.map(String.init).joined(separator: " ")
        return """

            Both nodes are left running. Append at plant-a, fetch and confirm at enterprise:

            \(producer) --json '\(fact)' \(source)/bsfg.v1.BoundaryService/AppendFact

            \(consumer) --json '{"consumerName":"historian","limit":3}' \
            \(receiver)/bsfg.v1.BoundaryService/FetchFacts

            \(consumer) --json '{"consumerName":"historian","offset":"2"}' \
            \(receiver)/bsfg.v1.BoundaryService/ConfirmReceipt

            \(producer) \(source)/health
            \(consumer) \(receiver)/health

            bsfg status --socket \(shellQuoted(site.socket(TwoZoneSite.source)))
            bsfg status --socket \(shellQuoted(site.socket(TwoZoneSite.receiver)))

            The data is in \(site.root(TwoZoneSite.source))/data and \
            \(site.root(TwoZoneSite.receiver))/data. To stop both and remove everything:

            kill \(all); while kill -0 \(all) 2>/dev/null; do sleep 0.1; done; rm -r \
            \(shellQuoted(site.directory))
            """
    }
}

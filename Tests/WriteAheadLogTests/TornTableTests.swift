import Testing

@testable import WriteAheadLog

@Suite("A table whose writing was cut off")
struct TornTableTests {
    @Test("what a crash left behind the end of a table's slot is gone after an opening")
    func tornTable() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk, environment: .still)
        _ = try log.append(try oneRecord(payload(1)))
        log.close()
        for (slot, at) in [(0, 100_000), (1, 100_000)] {
            let image = disk.copy()
            let place = Int(ManifestLayout.tableSlotPosition(slot)) + at
            image.edit(logPath + "/" + ManifestLayout.fileName) { $0[place] ^= 7 }
            let again = try openLog(image, environment: .still)
            #expect(try contents(again) == [payload(1)])
            again.close()
            let report = try LogInspector(directory: logPath, disk: image).verify()
            #expect(report.isSound, "\(report.damage)")
        }
    }
}

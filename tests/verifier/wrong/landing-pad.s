# A landing pad that begins with a nop, right behind the call that throws.
	.abiversion 2
	.text
	.type	leaf, @function
leaf:	blr
	.size	leaf, .-leaf
	.globl	catches
	.type	catches, @function
catches:
	.cfi_startproc
	.cfi_personality 0x94, DW.ref.person
	.cfi_lsda 0x14, .Lsites
	mflr	0
	std	0, 16(1)
	stdu	1, -64(1)
	.cfi_def_cfa_offset 64
	.cfi_offset 65, 16
.Lfrom:	bl	leaf
.Lto:
.Lpad:	nop
	bl	leaf
	addi	1, 1, 64
	ld	0, 16(1)
	mtlr	0
	blr
	.cfi_endproc
	.size	catches, .-catches
	.section .gcc_except_table, "a", @progbits
.Lsites:
	.byte	255, 255, 1
	.uleb128 .Lafter-.Lfirst
.Lfirst:
	.uleb128 .Lfrom-catches, .Lto-.Lfrom, .Lpad-catches, 0
.Lafter:
	.section .data.rel.local, "aw"
	.p2align 3
	.type	DW.ref.person, @object
DW.ref.person:
	.quad	__gcc_personality_v0
	.size	DW.ref.person, 8
